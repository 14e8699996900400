"""Runs parts in a process of their own, which can be replaced when the GPU becomes unusable or a compiler hangs.

Whatever that process starts, such as a training, belongs to its process group, and ends with it.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import time
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

import torch

from mmlocat.utils import first_line

from ..measure import Ratio
from .plan import Part, Plan

Row = Dict[str, Any]
NO_TIME = 'not measured: no time was left'
DONE, FAILED, _ROW = 'done', 'failed', 'row'
# Seconds beyond its time in which a part may finish its current case.
_GRACE = 10
# Seconds that a stopped process has to end: a launcher first passes the signal on to its own processes.
_PATIENCE = 10


class Job:
    """The argument of every part: the cases of the run, the time it has, and a function that takes its rows.

    Args:
        plan: The cases of this run.
        device: Such as 'cpu' or 'cuda'.
        seconds: Until the part should be done.
        send: Takes each row as it comes.
    """

    def __init__(self, plan: Plan, device: str, seconds: float, send: Callable[[Row], None]) -> None:
        self.plan, self.device = plan, device
        self._deadline = time.monotonic() + seconds
        self._send = send

    def left(self) -> float:
        """Returns the seconds that the part still has."""
        return self._deadline - time.monotonic()

    def row(self, case: Mapping[str, Any], **found: Any) -> None:
        """Sends a row: the case, and the figures found for it."""
        self._send({**case, **found})

    def time_row(self, case: Mapping[str, Any], ratio: Ratio, **found: Any) -> None:
        """Sends the row of a contender that was timed in turns with others."""
        self.row(case, ms=ratio.seconds * 1e3, ratio=ratio.ratio, low=ratio.low, high=ratio.high, turns=ratio.turns,
                 **found)

    def attempt(self, case: Mapping[str, Any], needs: float, measure: Callable[..., None], *args: Any) -> None:
        """Measures one case; if it fails, or no time is left for it, a row says so and the part goes on.

        Args:
            case: What is measured.
            needs: An estimate of the seconds it takes.
            measure: Measures the case and sends its rows.
            *args: The arguments of ``measure``.

        Raises:
            RuntimeError: The GPU cannot be used any more, so that nothing more can be measured in this process.
        """
        if self.left() < needs:
            self.row(case, problem=NO_TIME)
            return
        on_gpu = self.device.startswith('cuda')
        try:
            measure(*args)
        except Exception as error:  # whatever a kernel, a compiler or a model may raise
            self.row(case, problem=f'failed: {type(error).__name__}: {first_line(error)}')
            if on_gpu:
                torch.cuda.synchronize(self.device)  # raises again the error that made the device unusable
        finally:
            gc.collect()
            if on_gpu:
                torch.cuda.empty_cache()


def _serve(connection: Connection, plan: Plan, device: str) -> None:
    """Runs the parts that the parent asks for, until the connection closes."""
    os.setsid()  # Ctrl-C is for the parent, which ends this group
    with suppress(EOFError):
        while True:
            part, seconds = connection.recv()
            job = Job(plan, device, seconds, lambda row: connection.send((_ROW, row)))
            try:
                module, name = part.function.split(':')
                getattr(importlib.import_module(module), name)(job)
            except Exception as error:  # a part may raise anything; the report goes on
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
        self._process, self._connection = None, None

    def run(self, part: Part, seconds: float, take: Callable[[Row], None]) -> Tuple[str, str]:
        """Runs one part.

        Args:
            part: The part to run.
            seconds: The time it has.
            take: Called with every row as it comes.

        Returns:
            'done' or 'failed', and in one line why it failed.
        """
        end = time.monotonic() + seconds + _GRACE
        if self._process is None:
            self._start()
        kind, content = _ROW, ''
        try:
            self._connection.send((part, seconds))
            while kind == _ROW and self._connection.poll(max(0.0, end - time.monotonic())):
                kind, content = self._connection.recv()
                if kind == _ROW:
                    take(content)
        except (EOFError, OSError):
            self._process.join(5)
            kind, content = FAILED, f'its process ended with exit code {self._process.exitcode}'
        if kind == _ROW:
            kind, content = FAILED, f'stopped: not done {_GRACE} s after its time'
        if kind == FAILED:
            self.stop()  # a GPU that failed once may fail at everything
        return kind, content

    def _start(self) -> None:
        context = get_context('spawn')
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self._plan, self._device))
        self._process.start()
        other.close()

    def stop(self) -> None:
        """Ends the process and everything that it has started."""
        process, self._process = self._process, None
        if process is None:
            return
        self._connection.close()
        for number in (signal.SIGTERM, signal.SIGKILL):  # the second signal also ends what outlived the process
            for send in (os.killpg, os.kill):  # it may have no group of its own yet
                with suppress(ProcessLookupError, PermissionError):
                    send(process.pid, number)
            process.join(_PATIENCE)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *args: Optional[object]) -> None:
        self.stop()
