"""What --resume takes, and what it says has changed."""

import json
import os
import shutil

import pytest
import torch

from mmlocat.checkpoints.errors import CheckpointError
from mmlocat.config import load_config
from mmlocat.training.cli import training_job
from mmlocat.training.context import Context
from mmlocat.training.resume import apply_resume, tell_changes
from tests.conftest import ROOT

CONFIG = ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py'


def options(data, **more):
    given = {'train_cfg.max_iters': 4, 'train_cfg.val_interval': 4, 'param_scheduler.0.total_steps': 8,
             'default_hooks.checkpoint.interval': 2, 'train_dataloader.batch_size': 8, 'randomness.seed': 5}
    given.update({f'{split}_dataloader.dataset.data_root': data for split in ('train', 'val', 'test')})
    given.update(more)
    return ['--cfg-options', *(f'{key}={value}' for key, value in given.items())]


def job(work_dir, *arguments):
    return training_job([str(CONFIG), '--work-dir', str(work_dir), '--allow-random-backbone', '--no-data-check',
                         *arguments])


@pytest.fixture(scope='module')
def trained(digit_scenes, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('trained') / 'run'
    job(work_dir, *options(digit_scenes))()
    return work_dir


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a work dir with iter_2.pth and iter_4.pth."""
    shutil.copytree(trained, tmp_path / 'run')
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(tmp_path / 'run' / 'iter_4.pth'))
    return tmp_path / 'run'


def damage(path, how):
    if how == 'gone':
        path.unlink()
    elif how == 'empty':
        path.write_bytes(b'')
    elif how == 'cut off':
        os.truncate(path, path.stat().st_size // 2)
    elif how == 'zeros':  # what a machine without power leaves of a file that was never synced
        path.write_bytes(bytes(path.stat().st_size))
    else:
        path.write_text('<html>quota exceeded</html>')


@pytest.mark.parametrize('how', ['gone', 'empty', 'cut off', 'zeros', 'a page'])
def test_a_bad_newest_checkpoint_falls_back_loudly(how, run, digit_scenes, capsys):
    damage(run / 'iter_4.pth', how)
    runner = job(run, '--resume', *options(digit_scenes)).__self__
    said = capsys.readouterr().err
    assert f'WARNING: {run}/last_checkpoint names {run}/iter_4.pth, which ' in said
    assert f'Falling back to {run}/iter_2.pth; what came after it is trained again.' in said
    assert f'Resuming from {run}/iter_2.pth.' in said
    assert runner._load_from == str(run / 'iter_2.pth')


def test_a_work_dir_that_was_moved_goes_on(run, digit_scenes, capsys):
    moved = run.rename(run.parent / 'moved')
    assert job(moved, '--resume', *options(digit_scenes)).__self__._load_from == str(moved / 'iter_4.pth')
    assert f'Falling back to {moved}/iter_4.pth' in capsys.readouterr().err


def test_an_empty_last_checkpoint_falls_back(run, digit_scenes, capsys):
    (run / 'last_checkpoint').write_text('')
    os.utime(run / 'iter_2.pth', (0, 0))
    job(run, '--resume', *options(digit_scenes))
    assert f'last_checkpoint is empty or no text. Falling back to {run}/iter_4.pth' in capsys.readouterr().err


def test_nothing_that_can_be_read_is_an_error(run, digit_scenes):
    for name in ('iter_2.pth', 'iter_4.pth'):
        damage(run / name, 'cut off')
    with pytest.raises(CheckpointError, match='no other checkpoint in .* can be read; give one with --resume FILE, or '
                                              'delete .*last_checkpoint to start anew'):
        job(run, '--resume', *options(digit_scenes))


def test_a_checkpoint_asked_for_by_name_is_taken_or_refused(run, digit_scenes):
    damage(run / 'iter_4.pth', 'cut off')
    with pytest.raises(CheckpointError, match='iter_4.pth, to resume from, is cut off.*; give another with --resume'):
        job(run, '--resume', str(run / 'iter_4.pth'), *options(digit_scenes))
    with pytest.raises(FileNotFoundError, match='iter_9.pth, to resume from, does not exist; give another with'):
        job(run, '--resume', str(run / 'iter_9.pth'), *options(digit_scenes))


def test_weights_without_an_optimizer_are_no_place_to_go_on_from(run):
    for name in ('iter_2.pth', 'iter_4.pth'):
        content = torch.load(run / name, map_location='cpu', weights_only=False)
        del content['optimizer']  # as in best_*.pth
        torch.save(content, run / name)
    config = load_config(str(CONFIG))
    config.work_dir, config.resume = str(run), str(run / 'iter_2.pth')
    with pytest.raises(CheckpointError, match='iter_2.pth holds weights without the state of the optimizer.*: give '
                                              '--resume .*iter_4.pth, or begin .*--cfg-options load_from=.*iter_2.pth'):
        apply_resume(config, Context())
    config.resume, config.load_from = True, None
    assert any(remark.startswith(f'WARNING: {run}/iter_4.pth holds weights without the state of the optim')
               for remark in apply_resume(config, Context()))


def test_a_work_dir_without_a_run_starts_anew(run, digit_scenes, capsys):
    (run / 'last_checkpoint').unlink()
    assert job(run, '--resume', *options(digit_scenes)).__self__._load_from is None
    assert f'Nothing to resume in {run}: starting anew.' in capsys.readouterr().err


def changes(text):
    return [line.split('Changed since: ')[1] for line in text.splitlines() if 'Changed since: ' in line]


def test_the_same_launch_has_no_changes(run, digit_scenes, capsys):
    record = json.loads((run / 'provenance.json').read_text())
    record['launches'][-1]['versions']['a-former-name'] = '0.10.7'  # the package is recorded under another one now
    (run / 'provenance.json').write_text(json.dumps(record))
    job(run, '--resume', *options(digit_scenes))
    said = capsys.readouterr().err
    assert f'Resuming from {run}/iter_4.pth.' in said and not changes(said) and 'another order' not in said


def test_batch_config_and_seed_that_changed(run, digit_scenes, capsys):
    more = {'train_dataloader.batch_size': 4, 'train_cfg.max_iters': 8, 'optim_wrapper.optimizer.lr': 0.5,
            'model.decode_head.dropout_ratio': 0.3, 'randomness.seed': 6}
    runner = job(run, '--resume', *options(digit_scenes, **more)).__self__
    said = capsys.readouterr().err
    assert changes(said) == [
        'randomness.seed 5 -> 6; going on with 5.', 'total batch 8 -> 4.',
        'model.decode_head.dropout_ratio 0 -> 0.3.', 'optim_wrapper.optimizer.lr 0.003 -> 0.5.',
        'train_cfg.max_iters 4 -> 8.', 'train_dataloader.batch_size 8 -> 4.']
    assert 'The checkpoint brings its optimizer and schedulers' in said
    assert runner.seed == 5
    assert any('Changed since: total batch 8 -> 4.' in log.read_text() for log in run.glob('*/*.log'))


def test_processes_that_changed(run):
    config = load_config(str(CONFIG), {'randomness.seed': 5})
    config.work_dir, config.resume, context = str(run), True, Context(processes=2)
    apply_resume(config, context)
    told = tell_changes(config, context)
    assert 'Changed since: processes 1 -> 2.' in told
    assert any('the images come in another order' in line for line in told)


def test_without_a_record_it_says_so(run, digit_scenes, capsys):
    (run / 'provenance.json').unlink()
    job(run, '--resume', *options(digit_scenes))
    assert f'No provenance.json beside {run}/iter_4.pth' in capsys.readouterr().err
