"""What hooks and schedules remember survives --resume: a training ends where the uninterrupted one ends."""

import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from torch.utils.data import Dataset

from mmlocat.training.hook_state import HookStateHook
from mmlocat.training.runner import CheckedFlexibleRunner, CheckedRunner

_numbers = itertools.count()


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, mode='tensor'):
        return dict(loss=(self.weight - torch.stack(inputs)).square().mean()) if mode == 'loss' else [dict(seen=1)]


class Numbers(Dataset):
    metainfo = {}

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(index)]))


class Score(BaseMetric):
    """Gives 10 plus the number of the epoch times ``slope``."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(score=10. + self.slope * (1 + MessageHub.get_current_instance().get_info('epoch')))


class CountingHook(Hook):
    def __init__(self):
        self.count = 0

    def after_val_epoch(self, runner, metrics=None):
        self.count += 1

    def state_dict(self):
        return dict(count=self.count)

    def load_state_dict(self, state):
        self.count = state['count']


def train(work_dir, slope, resume=None, kind=CheckedRunner, dry_run=False, **early):
    """Trains until a score has not gained for three epochs; returns where it ended and what was remembered there."""
    loader = dict(batch_size=2, num_workers=0, dataset=dict(type=Numbers))
    stop = {**dict(type=EarlyStoppingHook, monitor='score', rule='greater', patience=3, min_delta=90.), **early}
    runner = kind.from_cfg(Config(dict(
        model=dict(type=Line), work_dir=str(work_dir), checks=dict(data=False, dry_run=dry_run),
        randomness=dict(seed=0), env_cfg=dict(dist_cfg=dict(backend='gloo')),
        train_dataloader=dict(loader, sampler=dict(type=DefaultSampler, shuffle=True)),
        val_dataloader=dict(loader, sampler=dict(type=DefaultSampler, shuffle=False)),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.)), val_evaluator=dict(type=Score, slope=slope),
        param_scheduler=dict(type='ReduceOnPlateauLR', monitor='score', rule='greater', factor=0.5, patience=1,
                             threshold=50.),
        train_cfg=dict(by_epoch=True, max_epochs=8), val_cfg=dict(), experiment_name=f'remembered{next(_numbers)}',
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best='score', rule='greater')),
        custom_hooks=[dict(type=CountingHook), stop, dict(type=CountingHook, priority='LOWEST')],
        resume=resume is not None, load_from=resume and str(resume))))
    runner.train()
    hooks = [hook for hook in runner.hooks if isinstance(hook, (CountingHook, EarlyStoppingHook))]
    return dict(epoch=runner.epoch, rate=runner.optim_wrapper.get_lr(), weight=runner.model.weight.item(),
                counts=[getattr(hook, 'count', None) for hook in hooks],
                waits=[getattr(hook, 'wait_count', None) for hook in hooks])


@pytest.mark.parametrize('slope', [1., -1.])  # with 1, each epoch is the best and its checkpoint is saved twice
@pytest.mark.parametrize('resumed', [1, 3, 4])
def test_a_resumed_training_ends_where_the_whole_one_does(slope, resumed, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / f'remembered{slope}'
    if not folder.exists():
        whole = train(folder / 'whole', slope)
        assert whole['epoch'] == 4 and whole['rate'] == dict(lr=[0.5]) and whole['counts'] == [4, None, 4]
        torch.save(whole, folder / 'whole.pth')
    shutil.copytree(folder / 'whole', folder / f'from{resumed}')
    assert train(folder / f'from{resumed}', slope, folder / f'from{resumed}' / f'epoch_{resumed}.pth') == torch.load(
        folder / 'whole.pth', weights_only=False)


def test_a_flexible_runner_remembers_too(tmp_path):
    whole = train(tmp_path, -1., kind=CheckedFlexibleRunner)
    assert whole['epoch'] == 4 and whole['rate'] == dict(lr=[0.5]) and whole['counts'] == [4, None, 4]
    assert train(tmp_path, -1., tmp_path / 'epoch_3.pth', kind=CheckedFlexibleRunner) == whole


def test_a_training_that_had_ended_early_has_ended(tmp_path):
    """By a threshold, and so in the moment of the best score."""
    assert train(tmp_path, 1., stopping_threshold=11.5)['epoch'] == 2
    assert train(tmp_path, 1., tmp_path / 'epoch_2.pth', stopping_threshold=11.5)['epoch'] == 2


def test_a_checkpoint_without_a_state_says_so(tmp_path):
    train(tmp_path, 1.)
    saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    del saved['hooks']['states']['CountingHook 2']
    torch.save(saved, tmp_path / 'epoch_1.pth')
    assert train(tmp_path, 1., tmp_path / 'epoch_1.pth')['counts'] == [4, None, 3]
    assert any('holds no state of CountingHook 2, which begins anew' in log.read_text()
               for log in tmp_path.glob('*/*.log'))


@pytest.mark.parametrize(('value', 'named'), [
    (Path('best.pth'), 'pathlib.*Path'), (itertools.count(), 'itertools.count'), (lambda: 1, 'lambda'), (2.5, None),
    ([dict(a=torch.ones(1), b='text', c=None)], None)])
def test_a_state_that_could_not_be_read_again_is_refused_before_training(value, named):
    hook = CountingHook()
    hook.count = value
    runner = SimpleNamespace(hooks=[hook])
    HookStateHook(trust_pickle=True).before_train(runner)
    if named is None:
        HookStateHook().before_train(runner)
        return
    with pytest.raises(ValueError, match=f'state_dict of CountingHook holds .*{named}.*, and a checkpoint with it '
                                         'could not be read again; .* numbers, text, lists, dicts and tensors'):
        HookStateHook().before_train(runner)


@pytest.mark.parametrize('dry_run', [False, True])
def test_a_runner_refuses_such_a_state(dry_run, tmp_path, monkeypatch):
    monkeypatch.setattr(CountingHook, 'state_dict', lambda hook: dict(count=Path('here')))
    with pytest.raises(ValueError, match='the state_dict of CountingHook holds pathlib'):
        train(tmp_path, 1., dry_run=dry_run)
    assert not list(tmp_path.glob('*.pth'))
