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
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence

from rich.console import Console

from mmlocat.utils import atomic_write

_LOG = 'output.log'  # what a job's processes print, in its folder
_STATE = 'job.json'  # fingerprint, number of the process, and seconds once it is done, in its folder
_ETA = re.compile(r'eta: (?:\d+ days?, )?[\d:]+')  # as mmengine logs it
_GRACE = 10  # seconds a process gets to end by itself
_LOOK_EVERY = 0.2  # seconds
_REPORT_EVERY = 30  # seconds between progress lines where there is no terminal to show one on


@dataclass(frozen=True, eq=False)
class Job:
    """One command, with what it leaves behind.

    Args:
        name: What progress lines call it.
        folder: Its work dir.
        command: The command line; a path that ends in '*.pth' stands for the file that fits when the job begins.
        product: The file in ``folder`` that proves success.
        fingerprint: Of what its result depends on. A change of code between releases is not seen: delete the work dir
            after one.
        after: The job whose result it needs, or None.
        resumable: Whether ``--resume`` goes on from a checkpoint in ``folder``.
        lanes: How many of the queue's lanes it takes; at most all.
        earlier: The fingerprint that the same job had by an earlier rule; what was done by that is done.
    """

    name: str
    folder: Path
    command: List[str]
    product: str
    fingerprint: str
    after: Optional[Job] = None
    resumable: bool = False
    lanes: int = 1
    earlier: Optional[str] = None

    def state(self) -> dict:
        """Returns what the last start of this very job recorded; nothing where it was another's, or none."""
        state = read_state(self.folder)
        return state if state and state.get('fingerprint') in (self.fingerprint, self.earlier) else {}

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


def read_state(folder: Path) -> dict:
    """Returns what the last job in a folder recorded, whichever it was: 'seconds' is None until it has ended well."""
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


def run_jobs(jobs: Sequence[Job], console: Console, lanes: int = 1) -> Iterator[Job]:
    """Runs jobs in their order, as many at once as fit, and yields each when it ends; those done before are left out.

    Closing the iterator ends what still runs, as an error does.

    Args:
        jobs: In order, each after the one whose result it needs.
        console: Where to print.
        lanes: How many jobs side by side.

    Raises:
        RuntimeError: A command failed; the message has its last lines and its log.
    """

    def say(message: str) -> None:
        console.print(f'[{time.strftime("%H:%M:%S")}] {message}', highlight=False, markup=False, soft_wrap=True)

    done = [job for job in jobs if job.done]
    for job in done:
        say(f'{job.name}: done before')
    threads = max(1, cores() // lanes)
    waiting = [job for job in jobs if job not in done]
    running: Dict[Job, subprocess.Popen] = {}
    began: Dict[Job, float] = {}
    reported = time.monotonic()
    try:
        with console.status('') as status:
            while waiting or running:
                free = lanes - sum(min(job.lanes, lanes) for job in running)
                for job in [job for job in waiting if job.after is None or job.after in done]:
                    free -= min(job.lanes, lanes)
                    if free < 0:  # what does not fit holds back those behind it, so that seeds end in turn
                        break
                    waiting.remove(job)
                    began[job] = time.monotonic()
                    running[job] = _start(job, threads, say)
                names = [', '.join([job.name, *_ETA.findall(_last_lines(job))[-1:]]) for job in running]
                progress = f'{len(done)} of {len(jobs)} steps are done; {" | ".join(names)}'
                status.update(progress)
                if not console.is_terminal and time.monotonic() - reported > _REPORT_EVERY:
                    reported = time.monotonic()
                    say(progress)
                time.sleep(_LOOK_EVERY)
                for job, process in list(running.items()):
                    if process.poll() is not None:
                        del running[job]
                        if process.returncode != 0 or not (job.folder / job.product).exists():
                            raise RuntimeError(f'{job.name} failed with exit code {process.returncode}. Its last '
                                               f'lines:\n{_last_lines(job)}\nThe whole log: {job.folder / _LOG}')
                        seconds = time.monotonic() - began[job]
                        job.record(process.pid, round(seconds, 1))
                        say(f'{job.name}: {seconds:.0f} s')
                        done.append(job)
                        yield job
    finally:
        _end({process.pid: lambda process=process: process.poll() is None for process in running.values()})


def _start(job: Job, threads: int, say: Callable[[str], None]) -> subprocess.Popen:
    command = [next((str(path) for path in Path(part).parent.glob(Path(part).name)), part)
               if part.endswith('*.pth') else part for part in job.command]
    leftover = read_state(job.folder).get('process')
    if _works_for(leftover, job.folder):
        _end({leftover: lambda: _works_for(leftover, job.folder)})
        say(f'{job.name}: ended what a killed run had left running')
    if job.will_resume:
        command.append('--resume')
        say(f'{job.name}: resuming')
    elif not (job.resumable and job.state()):
        shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ, PYTHONUNBUFFERED='1', PYTHON=sys.executable, PYTHONWARNINGS='ignore',
                       OMP_NUM_THREADS=str(threads))
    with open(job.folder / _LOG, 'a', encoding='utf-8') as log:
        # In a process group of its own, which is ended as a whole.
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT,
                                   start_new_session=True)
    job.record(process.pid)
    return process


def _last_lines(job: Job) -> str:
    with open(job.folder / _LOG, 'rb') as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - 10_000))
        return '\n'.join(log.read().decode(errors='replace').splitlines()[-12:])


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


def _works_for(number: Optional[int], folder: Path) -> bool:
    """Returns whether the process of a number works for a folder, as far as Linux tells."""
    try:
        return str(folder) in Path(f'/proc/{number}/cmdline').read_text(errors='replace').split('\0')
    except OSError:
        return False
