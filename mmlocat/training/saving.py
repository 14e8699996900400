"""Saves checkpoints atomically: a killed process or a full disk never leaves a truncated checkpoint.

mmengine writes a checkpoint under its final name, then ``last_checkpoint`` in place; both can be left half written. It
deletes the oldest checkpoint before the new one is written: with ``max_keep_ckpts=1`` a kill in between leaves none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence, Union
from unittest.mock import patch

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmlocat.utils import atomic_write

LAST_CHECKPOINT = 'last_checkpoint'
# Saved when a signal stops a training; the next checkpoint of the schedule replaces it.
INTERRUPTED = 'interrupted.pth'


class CheckpointNotSaved(RuntimeError):
    """A checkpoint could not be written; the message names the one to resume from."""


def last_checkpoint(work_dir: Union[str, Path]) -> Optional[str]:
    """Returns the path in ``last_checkpoint``; None where the file is missing or empty."""
    try:
        return (Path(work_dir) / LAST_CHECKPOINT).read_text(encoding='utf-8').strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def write_last_checkpoint(work_dir: Union[str, Path], checkpoint: Union[str, Path]) -> None:
    """Writes the path of the checkpoint to resume from into ``last_checkpoint``, atomically."""
    with atomic_write(Path(work_dir) / LAST_CHECKPOINT) as file:
        file.write(str(checkpoint))


def save_atomically(save: Callable[..., None], work_dir: str, out_dir: str, filename: str, *args: Any,
                    **kwargs: Any) -> None:
    """Lets ``save``, mmengine's ``Runner.save_checkpoint``, write under a temporary name, then renames the file.

    Raises:
        CheckpointNotSaved: The file could not be written. Earlier checkpoints are as they were.
    """
    target = Path(out_dir) / filename
    temporary = target.with_name(f'.{filename}.part')
    try:
        save(out_dir, temporary.name, *args, **kwargs)
        # Without fsync a power failure could leave the final name with incomplete content.
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        good = last_checkpoint(work_dir)
        advice = f'{good} is whole: make room, then go on with --resume' if good else 'there is no earlier one'
        raise CheckpointNotSaved(f'checkpoint {target} could not be written ({error.strerror or error}); '
                                 f'{advice}') from error
    finally:
        temporary.unlink(missing_ok=True)


class AtomicCheckpointHook(CheckpointHook):
    """Replaces ``last_checkpoint`` atomically, and deletes old checkpoints only after the new one is saved.

    It takes the place of ``CheckpointHook`` in ``default_hooks`` and has its arguments.
    """

    _again: Sequence[tuple] = ()  # arguments to save the last checkpoint again with

    def before_train(self, runner: Runner) -> None:
        """Restores the last checkpoint of an earlier launch: mmengine saves a new best score only if there is one."""
        super().before_train(runner)
        last = runner.message_hub.runtime_info.get('last_ckpt')
        if last and self.file_backend.isfile(last):
            self.last_ckpt = last

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Saves the checkpoint of an iteration or epoch, then deletes those beyond ``max_keep_ckpts``."""
        outdated: List[int] = []
        if self.max_keep_ckpts > 0:
            steps = [kept for kept in self.keep_ckpt_ids if kept != step] + [step]
            outdated = steps[:-self.max_keep_ckpts]
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(steps[-self.max_keep_ckpts:])
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args)
        if not is_main_process():
            return
        write_last_checkpoint(runner.work_dir, self.last_ckpt)
        for old in outdated:
            self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)))
        (Path(runner.work_dir) / INTERRUPTED).unlink(missing_ok=True)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Saves the checkpoint if its metrics are the best so far, then deletes the former best."""
        outdated: List[str] = []
        again: List[tuple] = []
        with patch.object(self.file_backend, 'remove', outdated.append), \
                patch.object(self, '_save_checkpoint_with_step', lambda *call: again.append(call)):
            super()._save_best_checkpoint(runner, metrics)  # which removes and saves again at once
        self._again = again
        current = {getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()}
        for path in outdated:
            if path not in current:
                self._remove(path)

    def after_val(self, runner: Runner) -> None:
        """Saves the last checkpoint again if a new best score belongs into it.

        mmengine does so while hooks after this one have yet to see the validation: a resumed run would then step a
        ``ReduceOnPlateauLR`` twice.
        """
        again, self._again = self._again, ()
        for arguments in again:
            self._save_checkpoint_with_step(*arguments)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
