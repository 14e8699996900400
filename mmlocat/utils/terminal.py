"""What all command lines share: progress, Ctrl-C and SIGTERM, one-line errors, the option ``--trust-pickle``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Callable, Iterator, Sequence, TypeVar

Item = TypeVar('Item')


# What launchers tell each process: PyTorch's and MMEngine's, Open MPI's, Slurm's. mpirun hands the processes that it
# starts in a Slurm job the number 0 of the job's script, so that Slurm's is asked for last.
_RANKS = ('RANK', 'OMPI_COMM_WORLD_RANK', 'SLURM_PROCID')
_SIZES = ('WORLD_SIZE', 'SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE')


def is_main_process() -> bool:
    """Whether this is the first process of a job, or the only one; of a launch, before MMEngine knows of it."""
    return int(next((os.environ[name] for name in _RANKS if name in os.environ), 0)) == 0


class _Terminated(KeyboardInterrupt):
    """SIGTERM; it ends a tool as Ctrl-C does."""


@contextmanager
def stoppable(remark: Callable[[], str] = str) -> Iterator[None]:
    """Makes Ctrl-C and SIGTERM end a tool with one line instead of a traceback, and with the exit code of shells.

    That is 130 or 143. With several processes only the first one prints the line, and SIGTERM keeps its own way: a
    process that waits for others inside a library would not see a handler of Python's.

    Args:
        remark: Returns text to add to the line.
    """
    owner, former = os.getpid(), None

    def terminate(number: int, frame: Any) -> None:
        if os.getpid() != owner:  # a forked child, for which this would be no end
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise _Terminated

    several = 'RANK' in os.environ or any(int(os.environ.get(name, 1)) > 1 for name in _SIZES)
    if not several and threading.current_thread() is threading.main_thread():
        former = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt as stop:
        name, code = ('SIGTERM', 143) if isinstance(stop, _Terminated) else ('Ctrl-C', 130)
        if is_main_process():
            print(f'Stopped by {name}. {remark()}'.rstrip(), file=sys.stderr)
        sys.exit(code)
    finally:
        if former is not None:
            signal.signal(signal.SIGTERM, former)


def with_progress(items: Sequence[Item], describe: Callable[[Item], str],
                  known: Callable[[Item], bool] = lambda item: False) -> Iterator[Item]:
    """Yields items that take seconds each; prints on stderr, before each, its name and when all will be done.

    Args:
        items: What to go through.
        describe: Returns an item's name.
        known: Tells which items take no time, because an interrupted call has measured them.
    """
    began, slow = time.monotonic(), 0
    for number, item in enumerate(items):
        kept = known(item)
        left = (time.monotonic() - began) / max(1, slow) * (len(items) - number)
        more = ', kept' if kept else f', ETA {timedelta(seconds=round(left))}' if slow else ''
        print(f'[{number + 1}/{len(items)}] {describe(item)}{more}', file=sys.stderr, flush=True)
        slow += not kept
        yield item


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type if the message is empty."""
    return str(error).strip().split('\n')[0][:300] or type(error).__name__


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--trust-pickle``, which every tool that reads a checkpoint takes."""
    parser.add_argument(
        '--trust-pickle', action='store_true', help='load pickles that hold more than plain data; they can run code')
