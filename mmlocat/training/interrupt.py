"""Lets a training be stopped at any iteration and resumed as if it had not been stopped.

SIGTERM and SIGUSR1 (Slurm sends them before it takes a machine away) save ``interrupted.pth`` after the current
iteration and end the process with exit code 128 + n, as a shell reports signal n: 143 and 138. Several processes all
stop at the same iteration. ``--resume`` continues a training after a signal, a kill or a crash.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import random
import signal
import sys
import threading
from itertools import islice
from pathlib import Path
from typing import Any, Callable, List, Optional

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from .private import accumulated_steps, advance_epoch, decide_val_interval
from .saving import INTERRUPTED, write_last_checkpoint

STOP_SIGNALS = tuple(getattr(signal, name) for name in ('SIGTERM', 'SIGUSR1') if hasattr(signal, name))
# Keys in mmengine's message hub, which is saved in every checkpoint.
_VALIDATED = 'validated_iteration'
_IN_EPOCH = 'iterations_of_interrupted_epoch'


class TrainingStopped(SystemExit):
    """A signal stopped a training after its state had been saved; ``code`` is 128 + the signal's number."""


class StepSeedHook(Hook):
    """Seeds the random numbers of each step (dropout, drop path, mixup) anew.

    They depend only on seed, iteration and process, so a resumed run draws the same numbers as an uninterrupted one;
    mmengine restores no random state. The augmentations of the samples have their own streams, see
    ``mmlocat.training.seeding``.
    """

    priority = 'HIGHEST'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seeds Python, NumPy and torch, GPUs included."""
        words = np.random.SeedSequence((runner.seed, runner.iter, get_rank(), 1)).generate_state(4)
        random.seed(words.tobytes())
        np.random.seed(words)
        torch.manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


class StopHook(Hook):
    """Saves a checkpoint and ends the process after a signal.

    Args:
        signals: The signals to handle; their former handlers come back after the training.
    """

    priority = 'LOWEST'  # after all other hooks have recorded the iteration

    def __init__(self, signals: tuple = STOP_SIGNALS) -> None:
        self.signals = signals
        self.received = 0
        self._former: List[tuple] = []
        self._group: Optional[Any] = None

    def before_train(self, runner: Runner) -> None:
        """Installs the signal handlers; before this, a signal ends the process at once, and nothing is lost."""
        if get_world_size() > 1:
            # gloo instead of the GPUs' queues, so that the exchange does not wait for the model's kernels.
            self._group = torch.distributed.new_group(backend='gloo')
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers only there
            self._former = [(number, signal.signal(number, self._receive)) for number in self.signals]

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Stops if any process received a signal, unless gradients of several iterations are being accumulated.

        A validation that is due now is left to the resumed run, see ``MissedValidationHook``.
        """
        number, done = self._agree(), runner.iter + 1
        if not number or done % accumulated_steps(runner.optim_wrapper):
            return
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and not isinstance(runner.train_loop, EpochLoop):
            # mmengine's own loop, in its FlexibleRunner, cannot resume in the middle of an epoch.
            if is_main_process():
                name = signal.Signals(number).name
                print(f'mmlocat: Stopped by {name} after iteration {done} of {runner.max_iters}. The same command with '
                      '--resume goes on from the last checkpoint.', file=sys.stderr, flush=True)
            raise TrainingStopped(128 + number)
        if isinstance(runner.train_loop, EpochLoop):
            runner.message_hub.update_info(_IN_EPOCH, [batch_idx + 1, len(runner.train_dataloader)])
        runner.save_checkpoint(runner.work_dir, INTERRUPTED, meta=dict(epoch=runner.epoch, iter=done), by_epoch=False)
        if is_main_process():
            path, name = Path(runner.work_dir) / INTERRUPTED, signal.Signals(number).name
            write_last_checkpoint(runner.work_dir, path)
            message = (f'Stopped by {name} after iteration {done} of {runner.max_iters}, which is saved in {path}. The '
                       'same command with --resume goes on from there.')
            runner.logger.info(message)
            print(f'mmlocat: {message}', file=sys.stderr, flush=True)
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
    """Runs the validation that was due when a run was interrupted; mmengine saves before it validates.

    Args:
        validated: An iteration known to be validated, although its checkpoint does not record it.
    """

    priority = 'LOWEST'

    def __init__(self, validated: Optional[int] = None) -> None:
        self.validated = validated
        self._training = False

    def before_train(self, runner: Runner) -> None:
        """Validates if the resumed checkpoint was saved when a validation was due and had not run."""
        self._training = True
        loop, known = runner.train_loop, runner.message_hub.runtime_info.get(_VALIDATED)
        if not runner.iter or runner.val_loop is None or runner.iter in (known, self.validated):
            return
        if not isinstance(loop, (EpochBasedTrainLoop, IterBasedTrainLoop)):
            return
        decide_val_interval(loop)
        if isinstance(loop, EpochBasedTrainLoop):
            done, total = runner.epoch, loop.max_epochs
            due = _IN_EPOCH not in runner.message_hub.runtime_info
        else:
            done, total, due = runner.iter, loop.max_iters, True
        if due and done >= loop.val_begin and (done % loop.val_interval == 0 or done == total):
            runner.logger.info(f'Validating iteration {runner.iter}, which the interrupted run had yet to do')
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: Optional[dict] = None) -> None:
        """Records the validated iteration for the next checkpoints."""
        if self._training:
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
        advance_epoch(self)


class WorkerShield:
    """Initialises data-loading workers so that they survive a signal to the whole job.

    Slurm and torchrun signal every process of a job. A worker that died would end the training in the middle of a step.
    The main process still ends its workers by SIGTERM when it exits; it sets an event first, so that they obey.

    Args:
        initialize: mmengine's own initialisation of workers, or None.
        context: The multiprocessing context of the workers; None for the default one.
    """

    def __init__(self, initialize: Optional[Callable[[int], None]], context: Optional[Any] = None) -> None:
        self.initialize = initialize
        self.closing = (context or multiprocessing).Event()
        # Exit functions run last in, first out, so this one runs before multiprocessing ends the workers.
        atexit.register(self.closing.set)

    def __call__(self, worker_id: int) -> None:
        """Initialises a worker; runs in the worker's process."""

        def end(number: int, frame: Any) -> None:
            if self.closing.is_set():
                os._exit(0)

        for number in STOP_SIGNALS:
            signal.signal(number, end)
        if self.initialize is not None:
            self.initialize(worker_id)
