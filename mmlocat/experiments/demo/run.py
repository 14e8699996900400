"""Runs the steps of a plan, shows where they are, and never does one twice."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Dict, List, Optional

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mmlocat.utils import atomic_write

from .plan import SeedPlan, Step

_EPOCH = re.compile(r'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]')
_ITERATION = re.compile(r'Iter\(train\)\s+\[\s*(\d+)/(\d+)\]')
_PROCESS = 'process'  # file in a step's folder: the number of the process that works there
_GRACE = 10  # seconds a process gets to end by itself
_REPORT_EVERY = 30  # seconds between progress lines where there is no terminal to draw a bar on


class StepFailed(RuntimeError):
    """A command of the demo ended with an error; the message has its last lines and its log."""


def cores() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def is_done(step: Step) -> bool:
    """Whether a step's result is there and comes from the same command, config and earlier steps."""
    try:
        record = json.loads((step.folder / 'step.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return False
    return record.get('fingerprint') == step.fingerprint and (step.folder / step.product).exists()


class StepRunner:
    """Runs plans, chains side by side on the available cores.

    Args:
        plans: All that is to be run, for the total of the progress bar.
        console: Where to print.
        lanes: Chains side by side; as many as there are cores by default.
        pace: Seconds this machine takes for one of a step's ``seconds``, for the ETA until that shows itself; None
            for no ETA until then.
        variables: Of the environment of every step, beside those of this process.
    """

    def __init__(self, plans: List[SeedPlan], console: Console, lanes: Optional[int] = None,
                 pace: Optional[float] = 0.6, variables: Optional[Dict[str, str]] = None) -> None:
        self.console = console
        self._lanes = lanes or cores()
        self._pace = pace
        self._variables = variables or {}
        self._steps = [step for plan in plans for step in plan.steps]
        self._total = sum(step.seconds for step in self._steps)
        self._fractions: Dict[int, float] = {id(step): float(is_done(step)) for step in self._steps}
        self._reused = sum(step.seconds * self._fractions[id(step)] for step in self._steps)
        self._started = self._reported = time.monotonic()
        self._running: Dict[int, str] = {}
        self._processes: List[subprocess.Popen] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._task: Optional[TaskID] = None
        self._progress = Progress(
            TextColumn('{task.fields[now]}'),
            BarColumn(bar_width=24),
            TextColumn('{task.percentage:>3.0f}%'),
            TimeElapsedColumn(),
            TextColumn('{task.fields[eta]}'),
            console=console,
            disable=not console.is_terminal)

    def __enter__(self) -> StepRunner:
        self._started = time.monotonic()
        self._task = self._progress.add_task('demo', total=self._total, now='', eta='')
        self._progress.start()
        return self

    def __exit__(self, *exception) -> None:
        self._progress.stop()

    def run(self, plan: SeedPlan) -> None:
        """Runs one seed.

        Raises:
            StepFailed: A command failed; the others have been ended.
            KeyboardInterrupt: Ctrl-C; all processes have been ended, the next call resumes from the last checkpoints.
        """
        lanes = max(1, min(self._lanes, len(plan.chains)))
        threads = max(1, cores() // lanes)
        with ThreadPoolExecutor(lanes) as pool:
            futures = [pool.submit(self._run_chain, chain, threads) for chain in plan.chains]
            try:
                while wait(futures, timeout=0.5).not_done:
                    for future in futures:
                        if future.done():
                            future.result()
                for future in futures:
                    future.result()
            except BaseException:
                self.stop()
                raise
        try:
            for step in plan.heads:
                self._run_step(step, threads=None)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends every process that was started, their children included."""
        self._stop.set()
        for number in (signal.SIGINT, signal.SIGKILL):
            with self._lock:
                alive = [process for process in self._processes if process.poll() is None]
            for process in alive:
                try:
                    os.killpg(process.pid, number)
                except ProcessLookupError:
                    continue
            deadline = time.monotonic() + _GRACE
            for process in alive:
                try:
                    process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue

    def _run_chain(self, chain: List[Step], threads: int) -> None:
        for step in chain:
            if self._stop.is_set():
                return
            self._run_step(step, threads)

    def _run_step(self, step: Step, threads: Optional[int]) -> None:
        if is_done(step):
            self._say(f'{step.name}: done before')
            return
        command = list(step.command)
        pending = step.folder / 'pending.json'
        if _end_leftover(step.folder):
            self._say(f'{step.name}: ended what a killed run had left running')
        if not (step.resumable and _same_start(pending, step.fingerprint)):
            shutil.rmtree(step.folder, ignore_errors=True)
        elif will_resume(step):
            command.append('--resume')
            self._say(f'{step.name}: resuming')
        with atomic_write(pending) as file:
            json.dump({'fingerprint': step.fingerprint}, file)
        environment = dict(os.environ, PYTHONUNBUFFERED='1', PYTHON=sys.executable, PYTHONWARNINGS='ignore',
                           **self._variables)
        if threads:
            environment['OMP_NUM_THREADS'] = str(threads)
        begin = time.monotonic()
        self._note(step, 0.0)
        code, tail = self._execute(step, command, environment)
        with self._lock:
            self._running.pop(id(step), None)
        if self._stop.is_set():
            return
        if code != 0 or not (step.folder / step.product).exists():
            raise StepFailed(f'{step.name} failed with exit code {code}. Its last lines:\n{"".join(tail)}'
                             f'The whole log: {step.folder / "output.log"}')
        with atomic_write(step.folder / 'step.json') as file:
            json.dump({'fingerprint': step.fingerprint, 'seconds': round(time.monotonic() - begin, 1)}, file)
        self._note(step, 1.0)
        with self._lock:
            self._running.pop(id(step), None)
        self._say(f'{step.name}: {time.monotonic() - begin:.0f} s')

    def _execute(self, step: Step, command: List[str], environment: dict):
        """Runs a command in a process group of its own; returns exit code and last lines."""
        tail: deque = deque(maxlen=12)
        with open(step.folder / 'output.log', 'a', buffering=1, encoding='utf-8') as log:
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors='replace',
                start_new_session=True)
            with self._lock:
                self._processes.append(process)
            with atomic_write(step.folder / _PROCESS) as file:
                file.write(str(process.pid))
            for line in process.stdout:
                log.write(line)
                tail.append(line)
                fraction = _fraction(line, step)
                if fraction is not None:
                    self._note(step, fraction)
            return process.wait(), tail

    def _note(self, step: Step, fraction: float) -> None:
        with self._lock:
            self._fractions[id(step)] = fraction
            self._running[id(step)] = step.name
            done = sum(s.seconds * self._fractions[id(s)] for s in self._steps)
            names = ' | '.join(self._running.values())
        elapsed = time.monotonic() - self._started
        fresh = done - self._reused
        # Before there is a pace of its own, the ETA is that of the reference machine, two lanes at a time.
        pace = elapsed / fresh if fresh > 30 else self._pace
        eta = '' if pace is None else f'ETA {time.strftime("%H:%M:%S", time.gmtime(pace * (self._total - done)))}'
        self._progress.update(self._task, completed=done, now=names, eta=eta)
        if not self.console.is_terminal and time.monotonic() - self._reported > _REPORT_EVERY:
            self._reported = time.monotonic()
            self._say(f'{done / self._total:.0%}, {eta}: {names}')

    def _say(self, message: str) -> None:
        self.console.print(
            f'[{time.strftime("%H:%M:%S")}] {message}', highlight=False, markup=False, soft_wrap=True)


def will_resume(step: Step) -> bool:
    """Whether an interrupted step has left a checkpoint of the same command, config and earlier steps."""
    return (step.resumable and _same_start(step.folder / 'pending.json', step.fingerprint)
            and _last_checkpoint_exists(step.folder))


def _end_leftover(folder: Path) -> bool:
    """Ends the step that a killed run left running in ``folder``; returns whether there was one.

    Only where Linux tells that the process of that number still works for this folder.
    """
    try:
        number = int((folder / _PROCESS).read_text(encoding='utf-8'))
        command = Path(f'/proc/{number}/cmdline').read_bytes().decode(errors='replace')
    except (OSError, ValueError):
        return False
    if str(folder) not in command.split('\0'):
        return False
    try:
        for ending in (signal.SIGTERM, signal.SIGKILL):  # torchrun ends its processes when asked, not when killed
            os.killpg(number, ending)
            deadline = time.monotonic() + _GRACE
            while Path(f'/proc/{number}/cmdline').read_bytes() and time.monotonic() < deadline:
                time.sleep(0.1)
    except OSError:  # it is gone
        pass
    return True


def _last_checkpoint_exists(folder: Path) -> bool:
    """Whether there is a checkpoint to go on from; a kill can leave the name of one that is gone."""
    try:
        return Path((folder / 'last_checkpoint').read_text(encoding='utf-8').strip()).is_file()
    except OSError:
        return False


def _same_start(pending: Path, fingerprint: str) -> bool:
    try:
        return json.loads(pending.read_text(encoding='utf-8')).get('fingerprint') == fingerprint
    except (OSError, ValueError):
        return False


def _fraction(line: str, step: Step) -> Optional[float]:
    """Reads mmengine's log line: how much of a training is done."""
    match = _EPOCH.search(line)
    if match:
        epoch, iteration, length = map(int, match.groups())
        total = int(re.search(r'(\d+)', step.product).group(1))
        return (epoch - 1 + iteration / length) / total
    match = _ITERATION.search(line)
    if match:
        iteration, total = map(int, match.groups())
        return iteration / total
    return None
