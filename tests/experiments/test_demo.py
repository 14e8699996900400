"""The demo as a suite: what its trainings compute, what is shared by the arms, and what makes a result stale."""

import argparse
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmlocat.config import load_config
from mmlocat.experiments.demo_models import demo_arms, demo_model
from mmlocat.experiments.suite.plan import plan_suite
from mmlocat.experiments.suite.rows import load_suite
from mmlocat.training.provenance import canonical_config
from tests.conftest import ROOT
from tests.helpers.demo_layout import write_demo_models

TOOL = runpy.run_path(str(ROOT / 'tools' / 'demo.py'), run_name='tool')
# What the trainings behind the published figures were given, as the demo of version 0.1 planned them.
PUBLISHED = json.loads((ROOT / 'tests' / 'data' / 'demo_plan.json').read_text())
ARMS = ('vit', 'locatvit', 'gaug', 'prr')


def suite(seeds=1, full=False, images=None, iterations=None):
    return TOOL['demo_suite'](argparse.Namespace(
        seeds=seeds, full=full, pretraining_images=images, segmentation_iterations=iterations))


def plan(work_dir='/w', **options):
    return plan_suite(suite(**options), Path(work_dir))


def pretraining(arm):
    return load_config(str(load_suite('digitscenes').row(f'{arm}/pretrain').config))


def given(trial, root):
    """Returns what decides a training, from its command."""
    command = trial.train.command
    start = next(place for place, part in enumerate(command) if part.endswith(('train.py', 'dist_train.sh')))
    many = command[start].endswith('dist_train.sh')
    options = [part.replace(f'{root}/', '') for part in command[command.index('--cfg-options') + 1:]]
    options += [part for part in command if part.startswith('--') and part not in ('--work-dir', '--cfg-options')]
    return dict(config=Path(command[start + 1]).name, processes=int(command[start + 2]) if many else 1,
                product=trial.train.product, options=sorted(options))


@pytest.mark.parametrize(('case', 'options'), [
    ('demo', dict(seeds=2)), ('full', dict(seeds=2, full=True)), ('quick', dict(images=640, iterations=40))])
def test_trainings_compute_what_they_did_when_the_figures_were_published(case, options):
    trials = plan(**options)
    found = {str(trial.train.folder.relative_to('/w')): given(trial, '/w') for trial in trials}
    assert set(found) == set(PUBLISHED[case])
    for folder, expected in PUBLISHED[case].items():
        own = found[folder]
        # Heads of ablations have leaves of their own today, which hold the same.
        names = [str(ROOT / 'configs' / one.pop('config')) for one in (own, expected)]
        assert own == expected, folder
        assert names[0] == names[1] or canonical_config(load_config(names[0])) == canonical_config(
            load_config(names[1])), folder
    for trial in trials:
        assert str(trial.train.folder / trial.train.product) in trial.test.command
        assert any(part.endswith('dist_test.sh') for part in trial.test.command) == (trial.row.processes == 2)


def test_one_seed_ends_before_the_next_and_heads_take_two_lanes():
    trials = plan(seeds=2)
    assert [trial.seed for trial in trials] == [0] * 5 + [1] * 4
    assert all(trial.train.lanes == (2 if trial.row.head else 1) for trial in trials)
    assert all(trial.train.after is (trial.parent.train if trial.row.head else None) for trial in trials)
    assert all(trial.test.after is trial.train for trial in trials)


def test_both_suites_make_the_same_of_what_they_share():
    both = plan(), [trial for trial in plan(full=True) if trial.row.name in {row.name for row in suite().rows}]
    found = [{trial.row.name: trial.train.fingerprint for trial in trials} for trials in both]
    assert found[1].items() <= found[0].items() and set(found[0]) - set(found[1]) == {'locatvit/upernet'}


def test_arms_share_data_order_budget_and_recipe():
    configs = [pretraining(arm).to_dict() for arm in ARMS]
    for config in configs:
        config['model']['backbone'].pop('gaug'), config['model']['backbone'].pop('out_type', None)
        config['model'].pop('neck', None)
    assert all(config == configs[0] for config in configs[1:])


def test_one_seed_gives_all_classifiers_the_same_shared_weights():
    states = []
    for arm in ARMS:
        config = pretraining(arm)
        init_default_scope(config.default_scope)
        torch.manual_seed(7)
        model = MODELS.build(config.model)
        model.init_weights()
        states.append(model.state_dict())
    assert all(torch.equal(value, state[name]) for state in states for name, value in states[0].items())
    assert len(states[1]) == len(states[2]) == len(states[0]) + 16 and len(states[3]) == len(states[0])


def prints(**options):
    return {job.name.replace(f'seed {trial.seed}', ''): job.fingerprint
            for trial in plan(**options) if trial.seed == options.get('seeds', 1) - 1
            for job in (trial.train, trial.test) if 'upernet' not in job.name}


def test_fingerprints_follow_what_a_result_depends_on():
    base = prints()
    assert prints(work_dir='/elsewhere') == base
    other_seed = prints(seeds=2)
    assert set(other_seed) == set(base) and all(other_seed[name] != value for name, value in base.items())
    heads_only = prints(iterations=10)
    assert {name for name, value in base.items() if heads_only[name] != value} == {name for name in base
                                                                                  if 'linear' in name}
    from_pretraining = prints(images=100)
    assert all(from_pretraining[name] != value for name, value in base.items())


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--seeds', '0'], '--seeds must be at least 1, got 0'),
    (['--segmentation-iterations', '-1'], '--segmentation-iterations must be at least 1, got -1'),
    (['--work-dir', __file__], 'is a file, not a folder'),
])
def test_bad_options_are_one_line(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['demo.py', *arguments])
    with pytest.raises(SystemExit):
        TOOL['read_options']()
    assert message in capsys.readouterr().err


def test_what_the_demo_has_trained_is_found(tmp_path):
    write_demo_models(tmp_path, arms=('vit', ), heads=('linear', ))
    (tmp_path / 'seed0' / 'vit' / 'linear' / 'iter_0.pth').touch()
    found = demo_model('vit', work_dir=tmp_path)
    assert (found.title, found.config.name) == ('ViT', 'vit-nano_linear_digitscenes.py')
    assert found.checkpoint.name == 'iter_1.pth'
    assert set(demo_arms('pretrain')) == {*ARMS, 'vit-long'}
    (tmp_path / 'seed0' / 'vit' / 'linear' / 'job.json').unlink()
    for options, error, message in (
            (dict(arm='vit'), FileNotFoundError, 'ViT in .*seed0/vit/linear has not ended: run `make demo`'),
            (dict(arm='gaug'), FileNotFoundError, r'ViT \+ GAug in .*seed0/gaug/linear is not there'),
            (dict(arm='swin'), ValueError, "unknown arm 'swin' or head 'linear' of the demo; it trains .*vit/linear"),
            (dict(arm='vit-untrained', head='pretrain'), ValueError, "unknown arm 'vit-untrained' or head 'pretrain'")):
        with pytest.raises(error, match=message):
            demo_model(work_dir=tmp_path, **options)
