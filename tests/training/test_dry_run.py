"""A dry run says what the training then does, and leaves nothing."""

import re
import tempfile
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import VISBACKENDS
from mmengine.visualization import LocalVisBackend
from torch import nn

from mmlocat.config import load_config
from mmlocat.models.building import build_model
from mmlocat.training import dry_run
from mmlocat.training.cli import training_job
from mmlocat.training.context import Context
from mmlocat.training.dry_run import plan
from mmlocat.training.footprint import Saved, in_words, kept_for_backward, optimizer_state, saved_by
from mmlocat.training.runner import CheckedRunner
from mmlocat.training.saving import AtomicCheckpointHook
from tests.conftest import ROOT

LINEAR = str(ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py')


@pytest.fixture
def options(digit_scenes, tmp_path):
    torch.save(build_model(load_config(LINEAR)).backbone.state_dict(), tmp_path / 'weights.pth')
    return [LINEAR, '--work-dir', str(tmp_path / 'work'), '--cfg-options', f'checkpoint={tmp_path / "weights.pth"}',
            *(f'{name}_dataloader.dataset.data_root={digit_scenes}' for name in ('train', 'val', 'test')),
            'train_cfg.max_iters=8', 'train_cfg.val_interval=8', 'param_scheduler.0.total_steps=8',
            'train_dataloader.batch_size=8', 'default_hooks.checkpoint.interval=4',
            'default_hooks.checkpoint.max_keep_ckpts=1', 'default_hooks.checkpoint.save_best=mIoU']


def test_what_it_says_is_what_comes(options, tmp_path, monkeypatch, capsys):
    scratch = tmp_path / 'scratch'
    scratch.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(scratch))
    job = training_job([*options, '--dry-run'])
    runner = job.__self__
    before = [value.clone() for value in runner.model.state_dict().values()]
    facts = plan(runner, runner.context)
    hook, = (hook for hook in runner.hooks if isinstance(hook, AtomicCheckpointHook))
    saved = saved_by(runner, hook, optimizer_state(runner))
    capsys.readouterr()
    job()
    shown = re.sub(r'[\s│]+', ' ', capsys.readouterr().out)
    assert 'nothing was trained' in shown and facts['Learning rate'] in shown
    assert runner.iter == 0 and all(map(torch.equal, before, runner.model.state_dict().values()))
    assert not list(scratch.iterdir()) and not (tmp_path / 'work').exists()

    trained = training_job(options).__self__
    rates = []
    trained.call_hook = lambda name, call=trained.call_hook, **given: (
        rates.append(trained.optim_wrapper.get_lr()['lr'][0]) if name == 'before_train_iter' else None,
        call(name, **given))[1]
    trained.train()
    peak = f'iteration {rates.index(max(rates))}'
    assert facts['Learning rate'] == (f'{rates[0]:.4g} at first, highest {max(rates):.4g} at {peak}, {rates[-1]:.4g} '
                                      'at last')
    assert facts['Warm-up'] == f'until {peak}'
    for line, loop in zip(facts['Data'].splitlines(), (trained.train_loop, trained.val_loop)):
        assert f': {len(loop.dataloader.dataset)} images (DigitScenesSegmentation in ' in line
    assert facts['Batch'] == '8 an optimizer step: 8 a process x 1'
    assert facts['Length'] == '8 iterations, 2 times through the data, validation every 8'
    counts = [sum(value.numel() for value in trained.model.parameters() if value.requires_grad or whole)
              for whole in (False, True)]
    assert facts['Parameters'] == '{:,} trained of {:,}'.format(*counts)
    assert facts['Frozen'].startswith('backbone (') and 'stays in evaluation mode' in facts['Frozen']
    assert 'weights.pth' in facts['Weights'] and re.search(r'(\d+) of \1 matched', facts['Weights'])
    files = list((tmp_path / 'work').glob('*.pth'))
    assert len(files) == saved.kept + saved.best == 2 and saved.written == 2
    for file in files:
        expected = saved.best_each if file.name.startswith('best') else saved.each
        assert file.stat().st_size == pytest.approx(expected, rel=0.03), file
    assert facts['Disk'].startswith(f'1 of 2 checkpoints kept, {in_words(saved.each)} each, and 1 of the best score')
    assert facts['Results'] == str(tmp_path / 'work')


def test_what_a_step_keeps():
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2)).to('meta')
    with kept_for_backward(model) as kept:
        model(torch.zeros(3, 4, device='meta'))
    assert sum(storage.nbytes() for storage in kept.values()) == 4 * 3 * (4 + 8 + 8)  # inputs, not weights
    model.requires_grad_(False)
    with kept_for_backward(model) as kept:
        model(torch.zeros(3, 4, device='meta'))
    assert not kept


@pytest.mark.parametrize(('kind', 'copies'), [(torch.optim.AdamW, 2), (torch.optim.SGD, 0)])
def test_the_state_of_an_optimizer_before_its_first_step(kind, copies):
    model = nn.Linear(4, 8)
    optimizer = kind([dict(params=[model.weight], lr=0.1), dict(params=[model.bias])], lr=1.)
    found = optimizer_state(SimpleNamespace(optim_wrapper=SimpleNamespace(optimizer=optimizer)))['0']['state']
    tensors = [value for entry in found.values() for value in entry.values() if isinstance(value, torch.Tensor)]
    assert sum(value.numel() for value in tensors if value.dim()) == copies * 40
    assert not optimizer.state and model.weight.grad is None
    own = type('Own', (kind, ), dict(step=None))(model.parameters(), lr=1.)
    assert optimizer_state(SimpleNamespace(optim_wrapper=SimpleNamespace(optimizer=own))) is None
    assert optimizer_state(SimpleNamespace(optim_wrapper=SimpleNamespace(optimizer='own'))) is None


@pytest.mark.parametrize(('size', 'text'), [(0, '0 bytes'), (999, '999 bytes'), (1e3, '1 kB'), (2.34e9, '2.34 GB'),
                                            (5e15, '5e+03 TB')])
def test_sizes_in_words(size, text):
    assert in_words(size) == text


def test_no_service_begins_a_run(options, monkeypatch):
    class Service(LocalVisBackend):
        def __init__(self, *args, **kwargs):
            raise AssertionError('a run has begun')

    monkeypatch.setitem(VISBACKENDS.module_dict, 'Service', Service)
    job = training_job([*options, 'visualizer.vis_backends.0.type=Service', 'visualizer.name=mine', '--dry-run'])
    assert job.__self__.visualizer._vis_backends == {}


def test_a_test_is_no_dry_run(options):
    """By a stock tool too, which tells only after the Runner is built that it tests."""
    config = load_config(LINEAR, {'checks.dry_run': True, 'checks.allow_random_backbone': True, 'checkpoint': None,
                                  'work_dir': options[2]})
    with pytest.raises(ValueError, match='checks.dry_run=True shows what a training would do, and cannot show a test'):
        CheckedRunner.from_cfg(config).test()


def test_both_checkpoints_are_shown():
    assert dry_run._weights(Context()) == 'random'
    assert dry_run._weights(Context(initial='a.pth', fitted='9 of 9', loaded='b.pth')) == (
        'a.pth\n9 of 9\nthen, over them, b.pth (load_from)')


def rates(epoch_length=4, **wrapper):
    config = Config(dict(optim_wrapper=wrapper, train_cfg=dict(by_epoch=True, max_epochs=2),
                         param_scheduler=dict(type='LinearLR', start_factor=0.5, by_epoch=False, end=4)))
    return dry_run._rates(SimpleNamespace(cfg=config, train_dataloader=range(epoch_length)))


def test_a_schedule_by_iterations_has_the_real_length_of_an_epoch():
    assert rates(optimizer=dict(lr=1.)) == {
        'Learning rate': '0.5 at first, highest 1 at epoch 0.75, 1 at last', 'Warm-up': 'until epoch 0.75'}
    assert rates(2, optimizer=dict(lr=1.))['Learning rate'] == '0.5 at first, highest 1 at epoch 1.5, 1 at last'


def test_a_schedule_of_very_many_iterations_is_not_gone_through():
    assert rates(150_000, optimizer=dict(lr=1.)) == {
        'Learning rate': '1 by a schedule that is too long to be gone through here'}


def test_optimizers_without_a_rate_in_the_config():
    assert rates(optimizer=dict(type='Adam')) == {'Learning rate': "the optimizer's default"}
    assert 'several' in rates(a=dict(optimizer=dict(lr=1.)), b=dict(optimizer=dict(lr=1.)))['Learning rate']


@pytest.mark.parametrize(('saved', 'peak'), [(Saved(10, 2, 2, 0, 0), 20), (Saved(10, 1, 2, 0, 0), 20),
                                             (Saved(10, 2, 2, 1, 6), 36)])
def test_room_for_the_file_that_replaces_another(saved, peak):
    assert saved.peak == peak


@pytest.mark.parametrize(('resumed', 'free', 'said'), [
    (None, 150, 'NOT ENOUGH SPACE: 150 bytes are free; keep'),
    ('there', 150, '150 bytes are free, beside 110 bytes of these checkpoints that are there already'),
    ('elsewhere', 150, 'NOT ENOUGH SPACE: 150 bytes are free; keep'),
    ('there', 80, 'NOT ENOUGH SPACE: 80 bytes are free, beside 110 bytes of'),
])
def test_what_a_resumed_training_has_saved_needs_no_more_room(resumed, free, said, tmp_path, monkeypatch):
    for name, size in (('iter_1.pth', 100), ('best_x.pth', 10), ('pretrained.pth', 999)):
        (tmp_path / name).write_bytes(bytes(size))
    folder = dict(there=tmp_path, elsewhere=tmp_path / 'other').get(resumed)
    monkeypatch.setattr(dry_run.footprint, 'saved_by', lambda *args: Saved(100, 2, 2, 0, 10))
    monkeypatch.setattr(dry_run.footprint, 'free_space', lambda folder: free)
    context = Context(work_dir=str(tmp_path), resumed=folder and str(folder / 'iter_1.pth'))
    assert list(dry_run._disk(SimpleNamespace(hooks=[CheckpointHook()]), context, None))[-1].startswith(said)
