"""Checkpoints and last_checkpoint are whole, or as they were."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.logging import MessageHub

from mmlocat.training import saving
from mmlocat.training.cli import training_job
from mmlocat.training.runner import CheckedRunner
from mmlocat.training.saving import AtomicCheckpointHook, CheckpointNotSaved, save_atomically, write_last_checkpoint


def save(content):
    def stock(out_dir, name):
        LocalBackend().put(content, os.path.join(out_dir, name))
    return stock


def test_a_checkpoint_appears_whole(tmp_path):
    seen = []

    def stock(out_dir, name):
        save(b'new')(out_dir, name)
        seen.append((tmp_path / 'iter_1.pth').read_bytes())

    (tmp_path / 'iter_1.pth').write_bytes(b'old')
    save_atomically(stock, str(tmp_path), str(tmp_path), 'iter_1.pth')
    assert seen == [b'old'] and (tmp_path / 'iter_1.pth').read_bytes() == b'new'
    assert os.listdir(tmp_path) == ['iter_1.pth']


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full, a disk that is always full')
@pytest.mark.parametrize('earlier', [True, False])
def test_a_full_disk_leaves_the_earlier_one(earlier, tmp_path):
    good, target = tmp_path / 'iter_1.pth', tmp_path / 'iter_2.pth'
    if earlier:
        good.write_bytes(b'old')
        write_last_checkpoint(tmp_path, good)
    (tmp_path / '.iter_2.pth.part').symlink_to('/dev/full')
    with pytest.raises(CheckpointNotSaved) as error:
        save_atomically(save(b'x' * 100000), str(tmp_path), str(tmp_path), 'iter_2.pth')
    advice = f'{good} is whole: make room, then go on with --resume' if earlier else 'there is no earlier one'
    assert str(error.value) == f'checkpoint {target} could not be written (No space left on device); {advice}'
    assert sorted(os.listdir(tmp_path)) == (['iter_1.pth', 'last_checkpoint'] if earlier else [])
    assert not earlier or good.read_bytes() == b'old' and saving.last_checkpoint(tmp_path) == str(good)


def test_ctrl_c_while_saving_leaves_nothing(tmp_path):
    def stock(out_dir, name):
        save(b'half')(out_dir, name)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_atomically(stock, str(tmp_path), str(tmp_path), 'iter_2.pth')
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('content', [None, b'', b'  \n', b'\xff\xfe'])
def test_last_checkpoint_that_names_nothing(content, tmp_path):
    if content is not None:
        (tmp_path / 'last_checkpoint').write_bytes(content)
    assert saving.last_checkpoint(tmp_path) is None


class Run(SimpleNamespace):
    """As much of a runner as the hook uses; tells in which order files come and go."""

    def save_checkpoint(self, out_dir, filename, *args, **kwargs):
        (Path(out_dir) / filename).write_text(filename)
        self.states.append(sorted(path.name for path in Path(out_dir).iterdir()))


@pytest.fixture
def hook(tmp_path):
    def make(**options):
        hook = AtomicCheckpointHook(by_epoch=False, interval=1, **options)
        hub = MessageHub(f'hub of {tmp_path.name}')
        run = Run(work_dir=str(tmp_path), message_hub=hub, states=[], iter=0, epoch=0,
                  logger=SimpleNamespace(info=lambda text: None))
        hook.before_train(run)
        return hook, run
    return make


def test_the_old_checkpoint_goes_after_the_new_one_is_there(hook, tmp_path):
    hook, run = hook(max_keep_ckpts=1)
    for step in (1, 2, 2, 3):  # the same step again: its best score has changed
        hook._save_checkpoint_with_step(run, step, dict())
        assert saving.last_checkpoint(tmp_path) == str(tmp_path / f'iter_{step}.pth')
    assert run.states[1] == ['iter_1.pth', 'iter_2.pth', 'last_checkpoint']
    assert run.states[3] == ['iter_2.pth', 'iter_3.pth', 'last_checkpoint']
    assert sorted(os.listdir(tmp_path)) == ['iter_3.pth', 'last_checkpoint']
    assert run.message_hub.get_info('keep_ckpt_ids') == [3]


def test_the_former_best_goes_after_the_new_one_is_there(hook, tmp_path):
    hook, run = hook(save_best='mIoU', max_keep_ckpts=2)
    for run.iter, value in ((1, 10.0), (2, 20.0), (3, 5.0)):
        hook._save_checkpoint_with_step(run, run.iter, dict())
        hook.after_val_epoch(run, dict(mIoU=value))
        hook.after_val(run)
    with_two = [state for state in run.states if 'best_mIoU_iter_1.pth' in state and 'best_mIoU_iter_2.pth' in state]
    assert with_two and sorted(os.listdir(tmp_path)) == [
        'best_mIoU_iter_2.pth', 'iter_2.pth', 'iter_3.pth', 'last_checkpoint']


def test_a_best_score_goes_into_the_checkpoint_that_was_resumed(hook, tmp_path):
    hook, run = hook(save_best='mIoU')
    (tmp_path / 'iter_4.pth').touch()
    run.message_hub.update_info('last_ckpt', str(tmp_path / 'iter_4.pth'))
    hook.before_train(run)
    run.iter = 4
    hook.after_val_epoch(run, dict(mIoU=10.0))  # the interrupted run had yet to do it
    assert (tmp_path / 'best_mIoU_iter_4.pth').read_text() and not (tmp_path / 'iter_4.pth').read_text()
    hook.after_val(run)  # when all hooks have seen the validation
    assert (tmp_path / 'iter_4.pth').read_text()


def test_what_a_signal_saved_goes_with_the_next_checkpoint(hook, tmp_path):
    hook, run = hook()
    (tmp_path / saving.INTERRUPTED).write_text('x')
    hook._save_checkpoint_with_step(run, 1, dict())
    assert sorted(os.listdir(tmp_path)) == ['iter_1.pth', 'last_checkpoint']


def test_the_tools_take_the_hook_for_mmengines(digit_scenes, tmp_path):
    from tests.conftest import ROOT
    job = training_job([str(ROOT / 'configs' / 'locatvit-nano_digitscenes.py'), '--work-dir', str(tmp_path),
                        '--no-data-check', '--cfg-options', f'train_dataloader.dataset.data_root={digit_scenes}',
                        f'val_dataloader.dataset.data_root={digit_scenes}', 'default_hooks.checkpoint.interval=3'])
    runner = job.__self__
    hook, = (hook for hook in runner.hooks if 'CheckpointHook' in type(hook).__name__)
    assert type(runner) is CheckedRunner and type(hook) is AtomicCheckpointHook and hook.interval == 3
    assert runner.cfg.default_hooks.checkpoint.type == 'CheckpointHook'  # the config stays what users know
    (tmp_path / '.iter_9.pth.part').symlink_to('/dev/full')
    with pytest.raises(CheckpointNotSaved, match='iter_9.pth could not be written'):
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.save_checkpoint(str(tmp_path), 'iter_9.pth', save_param_scheduler=False, meta=dict(epoch=0, iter=9))
    runner.save_checkpoint(str(tmp_path), 'iter_9.pth', save_param_scheduler=False, meta=dict(epoch=0, iter=9))
    assert torch.load(tmp_path / 'iter_9.pth', weights_only=False)['meta']['iter'] == 9
