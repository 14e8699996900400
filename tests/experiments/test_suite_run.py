"""A tiny suite for real: killed, started again, tested, tabled; and the commands for many GPUs and Slurm."""

import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time

import mmseg.apis
import pytest
import torch
import yaml
from rich.console import Console

import mmlocat
from mmlocat.experiments.leaderboard.board import build_board
from mmlocat.experiments.leaderboard.runs import gather
from mmlocat.experiments.suite.plan import plan_suite
from mmlocat.experiments.suite.rows import load_suite
from mmlocat.experiments.suite.run import hide_too_few_gpus, run_suite, show_plan
from tests.conftest import ROOT
from tests.experiments.test_report import measured

TOOL = str(ROOT / 'tools' / 'benchmark' / 'run_suite.py')
PRETRAINING, HEAD = 'locatvit-nano-gaug_digitscenes', 'locatvit-nano-gaug_linear_digitscenes'


def data_options(root):
    return {f'{part}_dataloader.dataset.data_root': str(root) for part in ('train', 'val', 'test')}


def rows(root, epochs):
    return [
        {'config': f'{PRETRAINING}.py', 'seeds': [5],
         'cfg-options': {**data_options(root), 'train_cfg.max_epochs': epochs, 'train_cfg.val_interval': epochs}},
        {'config': f'{HEAD}.py', 'seeds': [5], 'checkpoint': PRETRAINING,
         'cfg-options': {**data_options(root), 'train_cfg.max_iters': 6, 'train_cfg.val_interval': 6,
                         'param_scheduler.0.total_steps': 6}}]


@pytest.fixture
def suite_file(tmp_path, digit_scenes):
    path = tmp_path / 'tiny.yml'
    path.write_text(yaml.safe_dump(dict(rows=rows(digit_scenes, 20))))
    return path


def test_run_it_and_read_the_table(digit_scenes, tmp_path):
    """One pretraining, as the suite's jobs train and test it."""
    path = tmp_path / 'tiny.yml'
    path.write_text(yaml.safe_dump(dict(rows=rows(digit_scenes, 1)[:1])))
    work_dir, console, suite = tmp_path / 'work', Console(file=io.StringIO()), load_suite(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmlocat.experiments.suite.run.end_on_signals', lambda: None)
        assert run_suite(suite, plan_suite(suite, work_dir), work_dir, 1, console) == 0, console.file.getvalue()
    trial, = plan_suite(suite, work_dir)
    assert trial.train.done and trial.test.done
    run, = gather([work_dir])
    assert run.seed == 5 and 0 <= run.value <= 100 and run.leaf.name == PRETRAINING
    assert 'train_cfg.max_epochs = 1 (recipe: 5)' in run.deviations
    assert '| ViT + GAug |' in (work_dir / 'summary.md').read_text()


@pytest.mark.soak
def test_kill_it_start_it_again_and_read_the_table(suite_file, tmp_path, clean_environment):
    work_dir = tmp_path / 'work'
    readme = tmp_path / 'README.md'
    readme.write_text('a\n<!-- suite:tiny -->\nold\n<!-- /suite:tiny -->\nb\n')
    command = [sys.executable, TOOL, str(suite_file), '--work-dir', str(work_dir), '--jobs', '2',
               '--readme', str(readme)]
    pretraining = work_dir / 'seed5' / PRETRAINING
    process = subprocess.Popen(command, env=clean_environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    deadline = time.monotonic() + 120
    while not (pretraining / 'epoch_2.pth').exists() and not (pretraining / 'epoch_4.pth').exists():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and 'the same command goes on' in out
    assert not (pretraining / 'epoch_20.pth').exists()

    trials = plan_suite(load_suite(suite_file), work_dir)
    dry = Console(file=io.StringIO())
    show_plan(trials, dry)
    assert f'[resume] {PRETRAINING}, seed 5: train' in dry.file.getvalue()
    assert f'[to do] {HEAD}, seed 5: test' in dry.file.getvalue() and '2 trainings are left' in dry.file.getvalue()
    assert not (pretraining / 'epoch_20.pth').exists()

    result = subprocess.run(command, env=clean_environment, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f'{PRETRAINING}, seed 5: train: resuming' in result.stdout and 'All done.' in result.stdout
    launches = json.loads((pretraining / 'provenance.json').read_text())['launches']
    assert len(launches) == 2 and launches[0]['finished'] is None and launches[1]['first_iteration'] > 0

    # The next call has nothing to do.
    trials = plan_suite(load_suite(suite_file), work_dir)
    assert all(job.done for trial in trials for job in (trial.train, trial.test))
    shown = r'a\n<!-- suite:tiny -->\nDigitScenes, test split\n\n\| model (.|\n)*\| ViT \+ GAug \| (.|\n)*Measured 20'
    assert re.match(shown, readme.read_text())
    assert 'old' not in readme.read_text()
    assert '| ViT + GAug | frozen backbone, one-layer head |' in (work_dir / 'summary.md').read_text()
    assert re.search(r'ViT \+ GAug .* frozen backbone, one-layer head .* 215,767', result.stdout)

    run, = [run for run in gather([work_dir]) if run.leaf.name == HEAD]
    assert run.seed == 5 and 0 <= run.value <= 100 and run.pretraining.leaf.name == PRETRAINING
    assert len(run.test['class_iou']) == 11
    assert 'train_cfg.max_iters = 6 (recipe: 800)' in run.deviations
    assert 'pretraining: train_cfg.max_epochs = 20 (recipe: 5)' in run.deviations
    assert not any('batch' in text or 'starts from' in text or 'data_root' in text for text in run.deviations)
    assert {row.section for row in build_board([run])} == {'DigitScenes, frozen backbone, one-layer head'}

    # What was trained here is found by name and read by MMSegmentation's inferencer.
    config, weights = mmlocat.resolve(HEAD, weights=str(work_dir / 'seed5' / HEAD / 'iter_6.pth'))
    inferencer = mmseg.apis.MMSegInferencer(model=config, weights=weights, device='cpu')
    assert inferencer.model.decode_head.num_classes == 11


def test_a_failing_step_ends_with_its_log_and_a_word(suite_file, tmp_path, clean_environment, monkeypatch):
    monkeypatch.setattr('mmlocat.experiments.suite.run.end_on_signals', lambda: None)
    content = yaml.safe_load(suite_file.read_text())
    content['rows'][0]['cfg-options']['train_dataloader.dataset.nonsense'] = 1
    suite_file.write_text(yaml.safe_dump(content))
    console = Console(file=io.StringIO())
    suite = load_suite(suite_file)
    assert run_suite(suite, plan_suite(suite, tmp_path / 'w'), tmp_path / 'w', 1, console) == 1
    said = console.file.getvalue()
    assert 'nonsense' in said and 'output.log' in said and 'The same command goes on from here.' in said


def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / 'bad.yml').write_text('rows:\n  - {config: vit_imagenet.py, seed: 1}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', [TOOL, 'bad.yml'])
    assert runpy.run_path(TOOL, run_name='tool')['main']() == 1
    said = capsys.readouterr().err
    assert said.startswith('Error: ') and 'row 1 (vit_imagenet.py), seed: unknown key' in said
    assert not (tmp_path / 'work_dirs').exists()


def test_a_readme_without_a_place_is_refused_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    (tmp_path / 'page.md').write_text('<!-- suite:digitscenes -->\n<!-- /suite:digitscenes -->\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', [TOOL, 'demo', '--readme', 'page.md'])
    assert runpy.run_path(TOOL, run_name='tool')['main']() == 1
    assert 'page.md has no pair of markers for suite:demo; put' in capsys.readouterr().err
    assert not (tmp_path / 'work_dirs').exists()


def test_what_is_measured_stands_in_the_readme_at_once(tmp_path, monkeypatch):
    suite, readme, seen = load_suite('demo', [0]).select(['vit/linear']), tmp_path / 'page.md', []
    readme.write_text('<!-- suite:demo -->\n<!-- /suite:demo -->\n')
    trials = plan_suite(suite, tmp_path / 'w')

    def run_jobs(*_):
        for trial, value in zip(trials, (90., 30.)):
            measured(trial, value)
            yield trial.test
            seen.append(readme.read_text())
        raise RuntimeError('no power')

    monkeypatch.setattr('mmlocat.experiments.suite.run.end_on_signals', lambda: None)
    monkeypatch.setattr('mmlocat.experiments.suite.run.run_jobs', run_jobs)
    assert run_suite(suite, trials, tmp_path / 'w', 1, Console(file=io.StringIO()), readme) == 1
    assert '| classifier | 90.0 |' in seen[0] and '| 90.0 | 30.0 |' in seen[1]


def one_row(tmp_path, **entry):
    path = tmp_path / 'one.yml'
    path.write_text(yaml.safe_dump(dict(rows=[entry])))
    return load_suite(path)


def test_many_gpus_keep_the_recipes_batch(tmp_path):
    suite = one_row(tmp_path, config='vit_linear_ade20k.py', checkpoint='hf://a/b')
    for gpus, option in ((8, None), (4, 'train_dataloader.batch_size=8'), (1, 'train_dataloader.batch_size=32')):
        job, = plan_suite(suite, tmp_path, gpus)
        batch = [part for part in job.train.command if part.startswith('train_dataloader.batch_size')]
        assert batch == ([option] if option else [])
        assert any(part.endswith('dist_train.sh') for part in job.train.command) == (gpus > 1)
        assert 'checkpoint=hf://a/b' in job.train.command and 'checkpoint=hf://a/b' not in job.test.command
    prints = {plan_suite(suite, tmp_path, gpus)[0].train.fingerprint for gpus in (1, 2, 8)}
    assert len(prints) == 1  # what is done stays done on another number of GPUs


@pytest.mark.parametrize(('gpus', 'hidden'), [(0, False), (1, True), (2, False)])
def test_heads_of_two_processes_run_on_cpus_where_there_is_one_gpu(gpus, hidden, monkeypatch):
    console = Console(file=io.StringIO(), width=200)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0,1')  # which jobs inherit
    assert not hide_too_few_gpus(load_suite('paper'), console)
    assert os.environ['CUDA_VISIBLE_DEVICES'] == '0,1'
    assert hide_too_few_gpus(load_suite('demo'), console) == hidden
    assert ('all runs on CPUs' in console.file.getvalue()) == hidden
    assert os.environ['CUDA_VISIBLE_DEVICES'] == ('' if hidden else '0,1')


def test_slurm_commands_reach_srun(tmp_path, clean_environment):
    suite = one_row(tmp_path, config='vit_linear_ade20k.py', checkpoint='hf://a/b', seeds=[2])
    job, = plan_suite(suite, tmp_path, 16, 'gpu')
    (tmp_path / 'srun').write_text('#!/bin/sh\necho "$@" threads=$OMP_NUM_THREADS\n')
    (tmp_path / 'srun').chmod(0o755)
    environment = dict(clean_environment, PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', OMP_NUM_THREADS='3')
    for step, tool in ((job.train, 'train.py'), (job.test, 'test.py')):
        out = subprocess.run(step.command, env=environment, capture_output=True, text=True, check=True).stdout
        assert '--partition=gpu' in out and '--ntasks=16' in out and '--quit-on-interrupt' in out
        assert tool in out and f'--work-dir {step.folder}' in out and out.rstrip().endswith('threads=')
