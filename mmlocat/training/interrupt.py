"""Lets a training be stopped at any iteration and resumed as if it had not been stopped.

SIGTERM and SIGUSR1 (Slurm sends them before it takes a machine away) save ``interrupted.pth`` after the current
iteration and end the process with exit code 128 + n, as a shell reports signal n: 143 and 138. Several processes all
stop at the same iteration. ``--resume`` continues a training after a signal, a kill or a crash.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Callable, List, Optional

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from .saving import INTERRUPTED, write_last_checkpoint

STOP_SIGNALS = tuple(getattr(signal, name) for name in ('SIGTERM', 'SIGUSR1') if hasattr(signal, name))
# Keys in mmengine's message hub, which is saved in every checkpoint. One that begins with 'val' is logged as a metric.
_VALIDATED = 'iteration_of_last_validation'
_IN_EPOCH = 'iterations_of_interrupted_epoch'


class TrainingStopped(SystemExit):
    """A signal stopped a training after its state had been saved; ``code`` is 128 + the signal's number."""


class StopHook(Hook):
    """Saves a checkpoint and ends the process after SIGTERM or SIGUSR1."""

    priority = 'LOWEST'  # after all other hooks have recorded the iteration

    def __init__(self) -> None:
        self.received = 0
        self._former: List[tuple] = []
        self._group: Optional[Any] = None

    def before_train(self, runner: Runner) -> None:
        """Installs the signal handlers; before this, a signal ends the process at once, and nothing is lost."""
        if get_world_size() > 1:
            # gloo instead of the GPUs' queues, so that the exchange does not wait for the model's kernels.
            self._group = torch.distributed.new_group(backend='gloo')
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers only there
            self._former = [(number, signal.signal(number, self._receive)) for number in STOP_SIGNALS]

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Stops if any process received a signal, unless gradients of several iterations are being accumulated.

        A validation that is due now is left to the resumed run, see ``MissedValidationHook``.
        """
        number, done, loop = self._agree(), runner.iter + 1, runner.train_loop
        if not number or done % getattr(runner.optim_wrapper, '_accumulative_counts', 1):
            return
        end = f'Stopped by {signal.Signals(number).name} after iteration {done} of {runner.max_iters}'
        if isinstance(loop, EpochBasedTrainLoop) and not isinstance(loop, EpochLoop):
            # A custom loop, which cannot resume in the middle of an epoch.
            runner.logger.info(f'{end}. The same command with --resume goes on from the last checkpoint.')
            raise TrainingStopped(128 + number)
        if isinstance(loop, EpochLoop):
            runner.message_hub.update_info(_IN_EPOCH, [batch_idx + 1, len(runner.train_dataloader)])
        path = Path(runner.work_dir) / INTERRUPTED
        runner.message_hub.update_info('last_ckpt', str(path))  # what NonFiniteHook names in the resumed run
        runner.save_checkpoint(runner.work_dir, INTERRUPTED, meta=dict(epoch=runner.epoch, iter=done), by_epoch=False)
        if is_main_process():
            write_last_checkpoint(runner.work_dir, path)
        runner.logger.info(f'{end}, which is saved in {path}. The same command with --resume goes on from there.')
        if self._group is not None:
            # A launcher may end all processes when one has ended, while the first is still saving.
            torch.distributed.barrier(group=self._group)
        raise TrainingStopped(128 + number)

    def restore(self) -> None:
        """Restores the former handlers; the Runner calls it when the training has ended, also after an error."""
        for number, handler in self._former:
            signal.signal(number, handler)
        self._former = []

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number

    def _agree(self) -> int:
        """Returns the signal that any process received, the same in all processes; 0 for none."""
        if self._group is None:
            return self.received
        flag = torch.tensor(self.received)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX, group=self._group)
        return int(flag)


class MissedValidationHook(Hook):
    """Runs the validation that was due when a run was interrupted; mmengine saves before it validates."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Validates if the resumed checkpoint was saved when a validation was due and had not run."""
        loop, known = runner.train_loop, runner.message_hub.runtime_info
        if not runner.iter or runner.val_loop is None or _IN_EPOCH in known or known.get(_VALIDATED) == runner.iter:
            return
        if isinstance(loop, EpochBasedTrainLoop):
            done, total = runner.epoch, loop.max_epochs
        elif isinstance(loop, IterBasedTrainLoop):
            done, total = runner.iter, loop.max_iters
        else:
            return
        loop._decide_current_val_interval()  # by itself the loop does so only after a step
        if done >= loop.val_begin and (done % loop.val_interval == 0 or done == total):
            runner.logger.info(f'Validating iteration {runner.iter}, which the interrupted run had yet to do')
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: Optional[dict] = None) -> None:
        """Records the validated iteration for the next checkpoints."""
        runner.message_hub.update_info(_VALIDATED, runner.iter)


class EpochLoop(EpochBasedTrainLoop):
    """Resumes an epoch that a signal has interrupted where it stopped; else as mmengine's loop."""

    def run_epoch(self) -> None:
        """Runs one epoch, or the rest of an interrupted one."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done, length = self.runner.message_hub.runtime_info.pop(_IN_EPOCH, (0, 0))
        batches = self.dataloader
        if done and length != len(batches):
            self.runner.logger.warning(f'The interrupted epoch had {length} iterations and now has {len(batches)}: it '
                                       'begins anew')
            done = 0
        elif done and self.dataloader.batch_size and hasattr(self.dataloader.sampler, 'start_at'):
            self.dataloader.sampler.start_at(done * self.dataloader.batch_size)
        elif done:
            batches = islice(self.dataloader, done, None)
        for index, batch in enumerate(batches, done):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


def shield_workers(initialize: Optional[Callable[[int], None]], context: Optional[Any] = None) -> Callable[[int], None]:
    """Returns an initialisation of data-loading workers that lets them survive a signal to the whole job.

    Slurm and torchrun signal every process of a job. A worker that died would end the training in the middle of a step.
    The main process still ends its workers by SIGTERM when it exits; it sets an event first, so that they obey.

    Args:
        initialize: mmengine's own initialisation of workers, or None.
        context: The multiprocessing context of the workers; None for the default one.
    """
    closing = (context or multiprocessing).Event()
    # Exit functions run last in, first out, so this one runs before multiprocessing ends the workers.
    atexit.register(closing.set)
    return partial(_initialize_worker, initialize, closing)


def _initialize_worker(initialize: Optional[Callable[[int], None]], closing: Any, worker_id: int) -> None:

    def end(number: int, frame: Any) -> None:
        if closing.is_set():
            os._exit(0)

    for number in STOP_SIGNALS:
        signal.signal(number, end)
    if initialize is not None:
        initialize(worker_id)
