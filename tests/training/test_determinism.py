"""One seed gives bit-identical weights, whatever loads the images, with augmentation, mixup, dropout and drop path."""

import itertools

import pytest
import torch

from mmlocat.training.cli import training_job
from tests.conftest import ROOT, skip_without_deterministic_resizing
from tests.helpers.forked import run_python

PRETRAIN = '''
_base_ = '{configs}/locatvit-nano_digitscenes.py'
model = dict(backbone=dict(drop_path_rate=0.2), head=dict(loss=dict(use_soft=True)),
             train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)))
train_dataloader = dict(batch_size=40, dataset=dict(pipeline=[
    dict(type='LoadImageFromFile'), dict(type='RandomResizedCrop', scale=24), dict(type='RandomFlip', prob=0.5),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4), dict(type='PackInputs')]))
train_cfg = dict(max_epochs=2, val_interval=1)
'''
SEGMENT = '''
_base_ = '{configs}/locatvit-nano_linear_digitscenes.py'
model = dict(backbone=dict(frozen_stages=1, drop_path_rate=0.2), decode_head=dict(dropout_ratio=0.1))
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=[
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(36, 36), ratio_range=(1., 2.), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(36, 36)), dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'), dict(type='PackSegInputs')]))
param_scheduler = [dict(type='ConstantLR', factor=1.0, by_epoch=False)]
train_cfg = dict(max_iters=8, val_interval=4)
default_hooks = dict(checkpoint=dict(interval=8))
'''
LAST = {PRETRAIN: 'epoch_2.pth', SEGMENT: 'iter_8.pth'}
IDS = ['mmpretrain', 'mmseg']


_numbers = itertools.count()


def arguments(text, folder, data_root, workers=0, seed=0):
    folder.mkdir()
    config = folder / f'augmented_{next(_numbers)}.py'  # runs of one name and one second would share MMEngine's scope
    config.write_text(text.format(configs=ROOT / 'configs'))
    loaders = [option for loader in ('train', 'val', 'test') for option in (
        f'{loader}_dataloader.dataset.data_root={data_root}', f'{loader}_dataloader.num_workers={workers}',
        f'{loader}_dataloader.persistent_workers=False')]
    return [str(config), '--work-dir', str(folder / 'work'), '--allow-random-backbone', '--cfg-options', *loaders,
            f'randomness.seed={seed}', 'randomness.deterministic=True']


def weights(text, folder):
    return torch.load(folder / 'work' / LAST[text], weights_only=False)['state_dict']


def train(text, folder, *args, **kwargs):
    if text is SEGMENT:
        skip_without_deterministic_resizing()
    torch.rand(7)  # whatever happened before
    training_job(arguments(text, folder, *args, **kwargs))()
    return weights(text, folder)


def differing(one, other):
    assert list(one) == list(other)
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.fixture(scope='module', params=[PRETRAIN, SEGMENT], ids=IDS)
def without_workers(request, digit_scenes, tmp_path_factory):
    return request.param, train(request.param, tmp_path_factory.mktemp('without') / 'run', digit_scenes)


@pytest.mark.parametrize('workers', [0, pytest.param(1, marks=pytest.mark.soak), 2])
def test_bit_identical_weights_for_any_number_of_workers(workers, without_workers, digit_scenes, tmp_path, figure):
    text, expected = without_workers
    differ = differing(train(text, tmp_path / 'run', digit_scenes, workers=workers), expected)
    library = dict(zip((PRETRAIN, SEGMENT), IDS))[text]
    figure('Determinism', f'{library}, {workers} workers: tensors that differ from those of a run without workers',
           f'{len(differ)} of {len(expected)}')
    assert not differ


def test_another_seed_gives_other_weights(without_workers, digit_scenes, tmp_path):
    text, expected = without_workers
    assert len(differing(train(text, tmp_path / 'run', digit_scenes, seed=1), expected)) > 20


def test_as_a_command_of_its_own(digit_scenes, tmp_path, clean_environment, figure):
    """Another process has another history, and gets there all the same."""
    expected = train(SEGMENT, tmp_path / 'here', digit_scenes)
    environment = dict(clean_environment, OMP_NUM_THREADS=str(torch.get_num_threads()))
    result = run_python(ROOT / 'tools' / 'train.py', *arguments(SEGMENT, tmp_path / 'there', digit_scenes),
                        environment=environment)
    assert result.returncode == 0, result.stderr[-2000:]
    differ = differing(weights(SEGMENT, tmp_path / 'there'), expected)
    figure('Determinism', 'mmseg, another process: tensors that differ', f'{len(differ)} of {len(expected)}')
    assert not differ
