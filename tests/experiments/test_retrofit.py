"""The suite that trains a trained ViT on: same budget for every arm, its curve, and going on with head and all."""

import re

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmlocat.config import load_config
from mmlocat.experiments.suite.curve import curves, draw_curves
from mmlocat.experiments.suite.plan import plan_suite
from mmlocat.experiments.suite.report import Report
from mmlocat.experiments.suite.rows import load_suite
from mmlocat.training.cli import training_job
from mmlocat.training.recipe import learning_rates
from mmlocat.visualization.style import LINES
from tests.conftest import ROOT
from tests.experiments.test_report import measured
from tests.experiments.test_suite_rows import load
from tests.helpers.checkout import Checkout

# Of 5 epochs of 36,000 images at batch 64, and of 20 of 12,000.
ITERATIONS = {'digitscenes': {5: 141, 10: 282, 25: 704, 50: 1408, 100: 2815},
              'stampscenes': {5: 188, 10: 376, 25: 940, 50: 1880, 100: 3760}}
TUNED = str(ROOT / 'configs' / 'vit-nano-tuned_digitscenes.py')
IDENTITY = str(ROOT / 'configs' / 'locatvit-nano-identity_digitscenes.py')


@pytest.fixture(scope='module')
def planned(tmp_path_factory):
    """The suite, its trials and their work dir."""
    suite, folder = load_suite('retrofit'), tmp_path_factory.mktemp('retrofit')
    return suite, plan_suite(suite, folder), folder


def test_every_arm_is_trained_on_for_the_same_shares_from_the_same_start(planned):
    _, trials, folder = planned
    assert len(trials) == len(ITERATIONS) * (1 + 2 + 3 * 5 * 2) * 3
    found = {}
    for trial in trials:
        data, arm, *rest = trial.row.name.split('/')
        if rest:
            found.setdefault((data, arm, int(rest[0])), {})[rest[1], trial.seed] = trial
    # Share 0 of the identity start is the plain ViT: test_loading.py.
    assert set(found) == {(data, arm, share) for data, lengths in ITERATIONS.items()
                          for arm in ('plain', 'identity', 'paper') for share in (0, *lengths)} - {
        (data, 'identity', 0) for data in ITERATIONS}
    for (data, arm, share), own in found.items():
        for seed in (0, 1, 2):
            train, head = own.get(('train', seed)), own['linear', seed]
            origin = folder / f'seed{seed}' / data / 'start' / f'epoch_{20 if data == "stampscenes" else 5}.pth'
            if share:
                length = ITERATIONS[data][share]
                warmup, falling = train.config.param_scheduler
                assert warmup.end == falling.begin and abs(warmup.end - length / 10) < 1 and falling.end == length
                assert abs(falling.begin + falling.T_max - length) <= 1
                assert {f'load_from={origin}', f'train_cfg.max_iters={length}',
                        f'param_scheduler.1.end={length}'} < set(train.train.command)
                origin = train.train.folder / f'iter_{length}.pth'
            assert f'checkpoint={origin}' in head.train.command and head.seed == seed
            assert head.config.model.backbone.get('gaug', False) == (arm != 'plain')
            if arm == 'paper':
                assert head.config.model.backbone.get('gaug_init', 'paper') == 'paper'


@pytest.mark.parametrize(('data', 'an_epoch'), [('digitscenes', 563), ('stampscenes', 188)])
def test_a_longer_training_by_the_rates_of_the_pretraining(data, an_epoch):
    before, after, identity, paper = (load_config(str(ROOT / 'configs' / f'{name}_{data}.py')) for name in (
        'vit-nano', 'vit-nano-tuned', 'locatvit-nano-identity', 'locatvit-nano-paper'))
    rates = [learning_rates(config, an_epoch)[:, 0] for config in (before, after)]
    assert len(rates[0]) == len(rates[1]) == ITERATIONS[data][100]
    assert abs(rates[0] - rates[1]).max() < 0.005 * 1.5e-3
    assert before.optim_wrapper == after.optim_wrapper and before.train_dataloader == after.train_dataloader
    for arm, changed in ((identity, {'model', 'optim_wrapper'}), (paper, {'model'})):
        assert {key for key in after if arm[key] != after[key]} == changed and arm.model.head == after.model.head
    own = identity.optim_wrapper.paramwise_cfg.custom_keys
    assert own.pop('.gaug.log_alpha.bias').lr_mult == 100 and own == after.optim_wrapper.paramwise_cfg.custom_keys
    if data == 'digitscenes':  # what the page says of 5 %: with that, -10 is just left behind
        assert 100 * learning_rates(after, an_epoch)[:, 0].sum() * 0.05 == pytest.approx(10.6, abs=0.2)


def test_data_sets_take_the_place_of_their_name(tmp_path):
    suite = load(tmp_path, '''
datasets: [digitscenes, others]
rows:
  - {name: DATASET/start, config: vit-nano_DATASET.py}
  - {name: DATASET/more, config: vit-nano-tuned_DATASET.py, checkpoint: DATASET/start, share: 0.05}
  - {name: DATASET/head, config: vit-nano-tuned_linear_DATASET.py, checkpoint: DATASET/more}
''')
    assert [row.name for row in suite.rows] == [
        f'{data}/{part}' for data in ('digitscenes', 'others') for part in ('start', 'more', 'head')]
    assert suite.rows[4].config.name == 'vit-nano-tuned_others.py' and suite.rows[4].parent == 'others/start'
    assert [row.title for row in suite.rows[:3]] == ['ViT', 'ViT, trained on, 5 %', 'ViT, trained on, 5 %']


@pytest.mark.parametrize(('text', 'message'), [
    ('rows:\n  - {config: vit-nano-tuned_digitscenes.py, share: 0}', 'share: expected a number above 0, .* got 0'),
    ('rows:\n  - {config: vit-nano-tuned_digitscenes.py, share: true}', 'share: expected a number above 0'),
    ('datasets: digitscenes\nrows:\n  - {config: a}', "datasets: expected names .*, got 'digitscenes'"),
    ('rows:\n  - {config: vit-nano_digitscenes.py, share: 0.5}', 'row vit-nano_digitscenes: share=0.5 does not fit v'),
    ('rows:\n  - {config: vit-nano_knn_digitscenes.py, share: 0.5, checkpoint: "hf://a/b"}', 'share=0.5 does not fit'),
])
def test_wrong_shares_and_data_sets_are_named(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        plan_suite(load(tmp_path, text), tmp_path)


MIOU = {('plain', 0): 29., ('paper', 0): 29.5, ('plain', 25): 30., ('identity', 25): 34.}  # of seed 0; 1 and 2 add


def test_rows_that_are_left_out_are_not_compared():
    suite = load_suite('retrofit')
    assert suite.select(['*/100/*']).compare == suite.compare and suite.select(['*/0/*']).compare == ()
    assert suite.pairs == [(f'{data}/plain/100/linear', f'{data}/identity/100/linear') for data in ITERATIONS]
    assert suite.select(['stampscenes/*']).pairs == suite.pairs[1:]


def test_the_curve_is_of_the_records(planned):
    """Seeds 0, 1, 2 give v, v + 1, v + 2: mean v + 1 and spread 1. Accuracies tell which classifier a line has."""
    suite, trials, folder = planned
    for trial in trials:
        data, arm, *rest = trial.row.name.split('/')
        if data != 'digitscenes' or rest and (arm, int(rest[0])) not in MIOU:
            continue
        measured(trial, (MIOU[arm, int(rest[0])] if rest[-1:] == ['linear'] else 96. if rest else 90.) + trial.seed)
    report = Report(suite, trials, folder)
    (data, models), = curves(suite, report.rows).items()
    assert data == 'DigitScenes' and {
        model: [(share, row.mean, row.spread) for share, row in points] for model, points in models.items()} == {
        'ViT, trained on': [(0, 30., 1.), (25, 31., 1.)],
        'ViT, trained on as LocAtViT': [(25, 35., 1.)],
        "ViT, trained on as LocAtViT, paper's start": [(0, 30.5, 1.)]}
    assert [row[:1] + row[2:4] for row in report.table().rows] == [
        ['ViT, as it was trained', '91.0 ± 1.0', '30.0 ± 1.0'],
        ["the same, with GAug, paper's start", '91.0 ± 1.0', '30.5 ± 1.0'],
        ['ViT, trained on, 25 %', '97.0 ± 1.0', '31.0 ± 1.0'],
        ['ViT, trained on as LocAtViT, 25 %', '97.0 ± 1.0', '35.0 ± 1.0']]
    assert draw_curves(folder / 'curve.png', suite, report.rows)
    pixels = np.asarray(Image.open(folder / 'curve.png').convert('RGB'))
    for colour in LINES[:2]:
        assert (pixels == [int(colour[i:i + 2], 16) for i in (1, 3, 5)]).all(-1).sum() > 100
    assert not draw_curves(folder / 'none.png', suite, {}) and not (folder / 'none.png').exists()
    assert curves(load_suite('demo'), {}) == {}


def test_it_goes_on_with_the_head_and_begins_as_what_it_was(digit_scenes, tmp_path):
    """One step at a rate of nothing."""
    init_default_scope('mmpretrain')
    trained = MODELS.build(load_config(TUNED).model)
    for parameter in trained.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.save(dict(state_dict=trained.state_dict()), tmp_path / 'trained.pth')
    roots = [f'{split}_dataloader.dataset.data_root={digit_scenes}' for split in ('train', 'val', 'test')]
    model = training_job([IDENTITY, '--work-dir', str(tmp_path / 'w'), '--no-validate', '--cfg-options', *roots,
                          'train_cfg.max_iters=1', 'param_scheduler=[]', 'optim_wrapper.optimizer.lr=1e-12',
                          f'load_from={tmp_path / "trained.pth"}'])()
    model.eval(), trained.eval()
    state = model.state_dict()
    for name, value in trained.state_dict().items():
        assert (state[name] - value).abs().max() < 1e-6, name
    images = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        found, expected = (each.backbone(images)[0] for each in (model, trained))
    assert (found[:, 0] - expected).abs().max() < 1e-3  # the class token, before PRR


@pytest.mark.soak
def test_the_command_of_the_page_writes_curve_and_table_there(digit_scenes, tmp_path):
    """In a checkout in miniature, whose suite has one arm and one share."""
    checkout = Checkout(tmp_path, digit_scenes)
    page = checkout.folder / 'docs' / 'retrofit.md'
    command, = re.findall(r'^```bash\n(.*)\n```', page.read_text(), re.MULTILINE)
    assert 'All done.' in checkout.run(command)
    shown = page.read_text().split('<!-- suite:retrofit -->')[1].split('<!-- /suite')[0]
    assert '(retrofit.png)' in shown and '| ViT, trained on as LocAtViT, 2 % |' in shown
    assert checkout.products('docs/retrofit.png')
