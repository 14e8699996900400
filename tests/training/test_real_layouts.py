"""Every data set and head, for a few iterations through the real tools, on trees laid out as the originals are."""

import pytest
import torch

from mmlocat.training.cli import test_job as make_test_job
from mmlocat.training.cli import training_job
from tests.conftest import ROOT
from tests.helpers.forked import run_python
from tests.helpers.layouts import MAKERS, make, nano_config

# A quarter of the side: test_pipelines.py has the sizes themselves, and the commands below run with them.
SMALL = ['model.data_preprocessor.size=(128,128)', 'train_dataloader.dataset.pipeline.2.scale=(512,128)',
         'train_dataloader.dataset.pipeline.3.crop_size=(128,128)',
         *(f'{split}_dataloader.dataset.pipeline.1.scale=(512,128)' for split in ('val', 'test'))]


@pytest.fixture(scope='module')
def trees(tmp_path_factory):
    """All trees at their usual places; returns the folder to work in."""
    folder = tmp_path_factory.mktemp('trees')
    for dataset in MAKERS:
        make(dataset, folder)
    return folder


def train(*arguments):
    """Trains; returns the runner."""
    job = training_job(list(arguments))
    job()
    return job.__self__


def weights(path):
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def check_progress(work_dir, first, second):
    """Something was learned between two checkpoints, and a frozen backbone was not touched."""
    before, after = weights(work_dir / first), weights(work_dir / second)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in after if 'head.' in name)
    return [name for name in after if name.startswith('backbone.') and not torch.equal(before[name], after[name])]


def check_layer_decay(runner, rate, blocks):
    """After a resume, the rates of this very iteration still fall with depth."""
    groups = runner.optim_wrapper.optimizer.param_groups
    rates = {group['param_name']: group['lr'] for group in groups}
    head = rates['decode_head.conv_seg.weight']
    assert head > 0 and set(rates) == {name for name, _ in runner.model.named_parameters()}
    assert rates['backbone.pos_embed'] / head == pytest.approx(rate**(blocks + 1))
    for block in range(blocks):
        assert rates[f'backbone.layers.{block}.attn.qkv.weight'] / head == pytest.approx(rate**(blocks - block))
    assert len({round(value / head, 9) for value in rates.values()}) == blocks + 2


@pytest.mark.parametrize(('dataset', 'head'), [
    ('ade20k', 'upernet'), ('pascal_context59', 'linear'), ('coco_stuff164k', 'linear'),
    *(pytest.param(*pair, marks=pytest.mark.soak) for pair in (
        ('ade20k', 'linear'), ('pascal_context59', 'upernet'), ('coco_stuff164k', 'upernet')))])
def test_segmentation_trains_validates_resumes_and_tests(dataset, head, trees, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(trees)
    work_dir = tmp_path / 'work'  # mmengine writes the config there, by its own name
    config = str(nano_config(tmp_path, f'locatvit_{head}_{dataset}'))
    command = [config, '--work-dir', str(work_dir), '--allow-random-backbone']
    options = ['--cfg-options', *SMALL, 'checkpoint=None', 'train_cfg.val_interval=1',
               'default_hooks.checkpoint.interval=1']
    runner = train(*command, *options, 'train_cfg.max_iters=1')
    assert 'mmlocat: train data: 4 images, not the ' in capsys.readouterr().err  # the look before it
    assert runner.message_hub.get_scalar('val/mIoU').current() >= 0
    runner = train(*command, '--resume', *options, 'train_cfg.max_iters=2')
    assert runner.iter == 2 and f'Resuming from {work_dir / "iter_1.pth"}' in capsys.readouterr().err
    moved = check_progress(work_dir, 'iter_1.pth', 'iter_2.pth')
    assert bool(moved) == (head == 'upernet')
    if head == 'upernet':
        check_layer_decay(runner, rate=0.9, blocks=4)
    metrics = make_test_job([config, str(work_dir / 'iter_2.pth'), '--work-dir', str(tmp_path / 'test'),
                             '--cfg-options', *SMALL])()
    assert 0 <= metrics['mIoU'] <= 100 and 0 <= metrics['aAcc'] <= 100


@pytest.mark.parametrize('dataset', ['imagenet', pytest.param('mini-imagenet', marks=pytest.mark.soak)])
def test_pretraining_trains_validates_resumes_and_tests(dataset, trees, tmp_path, monkeypatch):
    monkeypatch.chdir(trees)
    work_dir = tmp_path / 'work'  # mmengine writes the config there, by its own name
    config = str(nano_config(tmp_path, f'locatvit_{dataset}'))
    options = ['--cfg-options', 'train_cfg.val_interval=1']
    options += [f'{split}_dataloader.dataset.indices=4' for split in ('train', 'val', 'test')]
    command = [config, '--work-dir', str(work_dir)]
    runner = train(*command, *options, 'train_cfg.max_epochs=1')
    assert runner.iter == 2 and 0 <= runner.message_hub.get_scalar('val/accuracy/top1').current() <= 100
    runner = train(*command, '--resume', *options, 'train_cfg.max_epochs=2')
    assert runner.iter == 4 and runner.epoch == 2
    assert check_progress(work_dir, 'epoch_1.pth', 'epoch_2.pth')  # the backbone learns too
    metrics = make_test_job([config, str(work_dir / 'epoch_2.pth'), '--work-dir', str(tmp_path / 'test'), *options])()
    assert 0 <= metrics['accuracy/top1'] <= metrics['accuracy/top5'] <= 100


def test_one_of_them_as_commands(trees, tmp_path, clean_environment):
    config = str(nano_config(tmp_path, 'locatvit_linear_pascal_context59'))

    def run(tool, *arguments):
        result = run_python(ROOT / 'tools' / tool, config, *arguments, cwd=trees, environment=clean_environment)
        assert result.returncode == 0, result.stderr[-2000:]

    run('train.py', '--work-dir', tmp_path / 'work', '--allow-random-backbone', '--no-validate', '--cfg-options',
        'checkpoint=None', 'train_cfg.max_iters=1')
    run('test.py', tmp_path / 'work' / 'iter_1.pth', '--work-dir', tmp_path / 'test', '--out', tmp_path / 'maps')
    assert sorted(path.name for path in (tmp_path / 'maps').iterdir()) == [
        '2008_000009.png', '2008_000016.png', '2008_000019.png', '2008_000021.png']
