"""A process in which parts run: it can be lost, with a GPU that became unusable or a compiler that never ends.

What it starts, such as a training, belongs to its process group, and ends with it.
"""

from __future__ import annotations

import importlib
import os
import signal
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Callable, Optional, Tuple

from mmlocat.utils import first_line

from .job import Job, Row
from .plan import Part, Plan

# Beyond its time, a part may so long finish the case it is at.
_GRACE = 10
# What is told to stop has so many seconds: a launcher hands the signal on to its processes first.
_PATIENCE = 10
_KILL = getattr(signal, 'SIGKILL', signal.SIGTERM)
DONE, FAILED, _ROW = 'done', 'failed', 'row'


def _serve(connection: Connection, plan: Plan, device: str) -> None:
    """Runs parts as they are asked for, until nothing asks any more."""
    if hasattr(os, 'setsid'):  # not on Windows
        os.setsid()  # Ctrl-C is for the parent, which ends this group
    while True:
        try:
            part, seconds = connection.recv()
        except EOFError:
            return
        job = Job(plan, device, seconds, lambda row: connection.send((_ROW, row)))
        try:
            module, name = part.function.split(':')
            function = getattr(importlib.import_module(module), name)
            function(job)
        except Exception as error:  # whatever a part may raise: the report goes on
            connection.send((FAILED, f'{type(error).__name__}: {first_line(error)}'))
        else:
            connection.send((DONE, ''))


class Worker:
    """Runs parts one after another, in a new process after one that failed.

    Args:
        plan: The cases of this run.
        device: Such as 'cpu' or 'cuda'.
    """

    def __init__(self, plan: Plan, device: str) -> None:
        self._plan, self._device = plan, device
        self._context = get_context('spawn')
        self._process, self._connection = None, None

    def run(self, part: Part, seconds: float, take: Callable[[Row], None]) -> Tuple[str, str]:
        """Runs one part.

        Args:
            part: Which.
            seconds: Until it should be done.
            take: Gets every row when it comes.

        Returns:
            'done' or 'failed', and in one line why it failed.
        """
        end = time.monotonic() + seconds + _GRACE
        if self._process is None:
            self._start()
        state, reason = FAILED, ''
        try:
            self._connection.send((part, seconds))
            while self._connection.poll(max(0.0, end - time.monotonic())):
                kind, content = self._connection.recv()
                if kind != _ROW:
                    state, reason = kind, content
                    break
                take(content)
            else:
                reason = f'stopped: not done {_GRACE} s after its time'
        except (EOFError, OSError):
            self._process.join(5)
            reason = f'its process ended with exit code {self._process.exitcode}'
        if state == FAILED:
            self.stop()  # a GPU that failed once may fail at everything
        return state, reason

    def _start(self) -> None:
        self._connection, other = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(other, self._plan, self._device))
        self._process.start()
        other.close()

    def stop(self) -> None:
        """Ends the process and what it has started."""
        process, self._process = self._process, None
        if process is None:
            return
        self._connection.close()
        for number, end in ((signal.SIGTERM, process.terminate), (_KILL, process.kill)):
            _signal_group(process.pid, number)
            end()  # also where it has no group of its own yet
            process.join(_PATIENCE)
            if process.exitcode is not None:
                break
        _signal_group(process.pid, _KILL)  # what outlived it

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *args: Optional[object]) -> None:
        self.stop()


def _signal_group(group: int, number: int) -> None:
    try:
        if hasattr(os, 'killpg'):
            os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass
