"""Runs jobs as child processes: side by side where they fit, never one twice, and on from where a killed one was."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Callable, Dict, Iterator, List, Optional, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mmlocat.utils import atomic_write

LOG = 'output.log'  # what a job's processes print, in its folder
_STATE = 'job.json'  # fingerprint, number of the process, and seconds once it is done, in its folder
_EPOCH = re.compile(r'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]')
_ITERATION = re.compile(r'Iter\(train\)\s+\[\s*(\d+)/(\d+)\]')
_GRACE = 10  # seconds a process gets to end by itself
_LOOK_EVERY = 0.2  # seconds
_REPORT_EVERY = 30  # seconds between progress lines where there is no terminal to draw a bar on


class JobFailed(RuntimeError):
    """A command ended with an error; the message has its last lines and its log."""


@dataclass(frozen=True)
class Job:
    """One command, with what it leaves behind.

    Args:
        name: What progress lines call it.
        folder: Its work dir.
        command: The command line.
        product: The file in ``folder`` that proves success.
        fingerprint: Of what its result depends on. A change of code between releases is not seen: delete the work dir
            after one.
        work: How much it is beside others, in any unit, for the progress bar.
        after: The job whose result it needs, or None.
        resumable: Whether ``--resume`` goes on from a checkpoint in ``folder``.
        lanes: How many of the queue's lanes it takes; at most all.
    """

    name: str
    folder: Path
    command: List[str]
    product: str
    fingerprint: str
    work: float = 1.
    after: Optional[Job] = None
    resumable: bool = False
    lanes: int = 1

    def state(self) -> dict:
        """Returns what the last start of this very job recorded; nothing where it was another's, or none."""
        state = _read_state(self.folder)
        return state if state.get('fingerprint') == self.fingerprint else {}

    def record(self, process: int, seconds: Optional[float] = None) -> None:
        """Writes the state of a job that has begun, or ended after so many seconds."""
        with atomic_write(self.folder / _STATE) as file:
            json.dump(dict(fingerprint=self.fingerprint, process=process, seconds=seconds), file)

    @property
    def done(self) -> bool:
        """Whether the result is there and comes from the same command, config and earlier jobs."""
        return self.state().get('seconds') is not None and (self.folder / self.product).exists()

    @property
    def will_resume(self) -> bool:
        """Whether an interrupted start has left a checkpoint; a kill can leave the name of one that is gone."""
        try:
            last = Path((self.folder / 'last_checkpoint').read_text(encoding='utf-8').strip())
        except OSError:
            return False
        return self.resumable and bool(self.state()) and last.is_file()


def ended(folder: Path) -> bool:
    """Returns whether the last job in a folder has ended well, whichever it was."""
    return _read_state(folder).get('seconds') is not None


def _read_state(folder: Path) -> dict:
    try:
        return json.loads((folder / _STATE).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}


def cores() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def end_on_signals() -> None:
    """Lets Ctrl-C, a request to end and a closed terminal all raise KeyboardInterrupt.

    Ctrl-C too, because a shell starts background jobs with it ignored, and what they start inherits that.
    """

    def interrupt(number, frame) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


@dataclass
class _Running:
    """A job's process, and the log that it writes."""

    job: Job
    process: subprocess.Popen
    log: IO[str]
    began: float = field(default_factory=time.monotonic)

    def fraction(self) -> Optional[float]:
        """Reads the new lines of the log; returns how much of a training is done, None where no line says so."""
        found = None
        for line in self.log:
            found = _fraction(line, self.job.product) or found
        return found


class Queue:
    """Runs jobs in their order, as many at once as fit; leaving the context ends what still runs.

    Args:
        jobs: In order, each after the one whose result it needs.
        console: Where to print.
        lanes: How many jobs side by side.
        variables: Of every job's environment, beside those of this process.
    """

    def __init__(self, jobs: Sequence[Job], console: Console, lanes: int = 1,
                 variables: Optional[Dict[str, str]] = None) -> None:
        self.jobs, self.console, self.lanes = list(jobs), console, lanes
        self._variables = variables or {}
        self._running: List[_Running] = []
        self._reported = time.monotonic()
        self._progress = Progress(
            TextColumn('{task.description}'), BarColumn(bar_width=24), TextColumn('{task.percentage:>3.0f}%'),
            TimeElapsedColumn(), TextColumn('ETA'), TimeRemainingColumn(), console=console,
            disable=not console.is_terminal, speed_estimate_period=600)
        self._fractions = {job.folder: float(job.done) for job in self.jobs}
        self._task = self._progress.add_task('', total=sum(job.work for job in self.jobs), completed=self._completed())

    def __enter__(self) -> Queue:
        self._progress.start()
        return self

    def __exit__(self, *exception) -> None:
        self._progress.stop()
        _end({running.process.pid: lambda process=running.process: process.poll() is None
              for running in self._running})

    def run(self) -> Iterator[Job]:
        """Yields every job when it is done.

        Raises:
            JobFailed: A command failed.
        """
        waiting, done = [], set()
        for job in self.jobs:
            if job.done:
                self._say(f'{job.name}: done before')
                done.add(job.folder)
                yield job
            else:
                waiting.append(job)
        while waiting or self._running:
            for job in self._startable(waiting, done):
                waiting.remove(job)
                self._start(job)
            time.sleep(_LOOK_EVERY)
            for running in list(self._running):
                code = running.process.poll()
                self._fractions[running.job.folder] = (
                    running.fraction() or self._fractions[running.job.folder])
                if code is not None:
                    self._running.remove(running)
                    self._finish(running, code)
                    done.add(running.job.folder)
                    yield running.job
            self._show()

    def _startable(self, waiting: Sequence[Job], done: set) -> List[Job]:
        """Returns what can begin now. One that does not fit holds back those behind it, so that seeds end in turn."""
        free = self.lanes - sum(min(running.job.lanes, self.lanes) for running in self._running)
        found = []
        for job in waiting:
            if job.after is None or job.after.folder in done:
                free -= min(job.lanes, self.lanes)
                if free < 0:
                    break
                found.append(job)
        return found

    def _start(self, job: Job) -> None:
        command = list(job.command)
        if _end_leftover(job.folder):
            self._say(f'{job.name}: ended what a killed run had left running')
        if job.will_resume:
            command.append('--resume')
            self._say(f'{job.name}: resuming')
        elif not (job.resumable and job.state()):
            shutil.rmtree(job.folder, ignore_errors=True)
        job.folder.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ, PYTHONUNBUFFERED='1', PYTHON=sys.executable, PYTHONWARNINGS='ignore',
                           OMP_NUM_THREADS=str(max(1, cores() // self.lanes)), **self._variables)
        with open(job.folder / LOG, 'a', encoding='utf-8') as log:
            # In a process group of its own, which is ended as a whole.
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT,
                                       start_new_session=True)
            lines = open(job.folder / LOG, encoding='utf-8', errors='replace')
            lines.seek(log.tell())
        self._running.append(_Running(job, process, lines))
        job.record(process.pid)
        self._show()

    def _finish(self, running: _Running, code: int) -> None:
        job, seconds = running.job, time.monotonic() - running.began
        running.log.close()
        if code != 0 or not (job.folder / job.product).exists():
            with open(job.folder / LOG, encoding='utf-8', errors='replace') as log:
                last = ''.join(log.readlines()[-12:])
            raise JobFailed(f'{job.name} failed with exit code {code}. Its last lines:\n{last}'
                            f'The whole log: {job.folder / LOG}')
        job.record(running.process.pid, round(seconds, 1))
        self._fractions[job.folder] = 1.
        self._say(f'{job.name}: {seconds:.0f} s')

    def _completed(self) -> float:
        return sum(job.work * self._fractions[job.folder] for job in self.jobs)

    def _show(self) -> None:
        names = ' | '.join(running.job.name for running in self._running)
        self._progress.update(self._task, completed=self._completed(), description=names)
        if not self.console.is_terminal and time.monotonic() - self._reported > _REPORT_EVERY:
            self._reported = time.monotonic()
            task = self._progress.tasks[0]
            left = '' if task.time_remaining is None else f', ETA {timedelta(seconds=round(task.time_remaining))}'
            self._say(f'{task.percentage:.0f}%{left}: {names}')

    def _say(self, message: str) -> None:
        self.console.print(f'[{time.strftime("%H:%M:%S")}] {message}', highlight=False, markup=False, soft_wrap=True)


def _end(groups: Dict[int, Callable[[], bool]]) -> None:
    """Ends process groups, each given with a check that it lives: asked first, for torchrun to end its processes."""
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for number in [number for number, lives in groups.items() if lives()]:
            try:
                os.killpg(number, ending)
            except OSError:  # it has just gone
                continue
        deadline = time.monotonic() + _GRACE
        while any(lives() for lives in groups.values()) and time.monotonic() < deadline:
            time.sleep(0.1)


def _end_leftover(folder: Path) -> bool:
    """Ends the job that a killed run left running in ``folder``; returns whether there was one.

    Only where Linux tells that the process of that number still works for this folder.
    """
    number = _read_state(folder).get('process')

    def lives() -> bool:
        try:
            command = Path(f'/proc/{number}/cmdline').read_bytes().decode(errors='replace')
        except OSError:
            return False
        return str(folder) in command.split('\0')

    found = lives()
    if found:
        _end({number: lives})
    return found


def _fraction(line: str, product: str) -> Optional[float]:
    """Reads mmengine's log line: how much of the training that ends with ``product`` is done; None for other lines."""
    match = _EPOCH.search(line)
    if match:
        epoch, iteration, length = map(int, match.groups())
        return (epoch - 1 + iteration / length) / int(re.sub(r'\D', '', product))
    match = _ITERATION.search(line)
    return int(match[1]) / int(match[2]) if match else None
