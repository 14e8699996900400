"""Runs a plan so that a kill costs no more than the way back to the last checkpoint, or prints what it would run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import List, Optional, Sequence

import torch
from filelock import FileLock, Timeout
from rich.console import Console

from mmlocat.experiments.leaderboard.output import update_readme

from .picture import draw_trials
from .plan import RECORD, Trial
from .queue import Job, JobFailed, Queue, end_on_signals
from .report import Report
from .rows import Suite


def run_suite(suite: Suite, trials: Sequence[Trial], work_dir: Path, lanes: int, console: Console,
              hide_gpus: bool = False, readme: Optional[Path] = None) -> int:
    """Trains and tests what is not done yet; after every test the tables so far are written.

    Args:
        suite: From ``load_suite``.
        trials: From ``plan_suite``.
        work_dir: Their root; one suite at a time runs in it.
        lanes: Jobs side by side.
        console: Where to print.
        hide_gpus: Whether all runs on CPUs.
        readme: Markdown file whose marker ``suite:NAME`` shows the table at the end.

    Returns:
        The exit code: 0, 1 after a failed job, 130 after Ctrl-C or a request to end. The same call goes on.
    """
    end_on_signals()
    jobs = jobs_of(trials)
    try:
        console.print(f'{sum(job.done for job in jobs)} of {len(jobs)} steps are done; all goes to {work_dir}',
                      highlight=False, soft_wrap=True)
        work_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(str(work_dir / '.lock'), timeout=0):
            with Queue(jobs, console, lanes, dict(CUDA_VISIBLE_DEVICES='') if hide_gpus else None) as queue:
                for job in queue.run():
                    if job.product == RECORD:
                        Report(suite, trials, work_dir).write()
            report = Report(suite, trials, work_dir)
            report.measure()
            report.write()
            if readme:
                update_readme(readme, {f'suite:{suite.name}': report.readme_text()})
            if suite.compare:
                draw_trials(work_dir / 'summary.png', _compared(suite, trials))
    except Timeout:
        console.print(f'Error: another suite is running in {work_dir}; wait for it, or give another --work-dir',
                      markup=False, soft_wrap=True)
        return 1
    except (JobFailed, OSError, ValueError, RuntimeError) as error:
        console.print(f'Error: {error}\nThe same command goes on from here.', markup=False, highlight=False,
                      soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print('Interrupted. Nothing is lost: the same command goes on from the last checkpoints.')
        return 130
    for table in report.tables():
        table.print()
    picture = f'Picture: {work_dir / "summary.png"}\n' if suite.compare else ''
    console.print(f'{report.verdict()}\n{picture}Tables: {work_dir / "summary.md"}\n'
                  f'All done. Beside published numbers: python tools/benchmark/leaderboard.py {work_dir}',
                  highlight=False, markup=False, soft_wrap=True)
    return 0


def jobs_of(trials: Sequence[Trial]) -> List[Job]:
    """Returns trainings and tests in order."""
    return [job for trial in trials for job in (trial.train, trial.test)]


def too_few_gpus(suite: Suite, console: Console) -> bool:
    """Returns, and says, whether rows ask for more processes than there are GPUs: NCCL takes one process a GPU."""
    gpus, processes = torch.cuda.device_count(), max((row.processes or 1 for row in suite.rows), default=1)
    if not 0 < gpus < processes:
        return False
    console.print(f'{gpus} GPU, and heads are trained by {processes} processes: all runs on CPUs.')
    return True


def _compared(suite: Suite, trials: Sequence[Trial]) -> List[Trial]:
    return [next(trial for trial in trials if trial.row.name == name) for name in suite.compare]


def show_plan(trials: Sequence[Trial], console: Console) -> None:
    """Prints every command with its state, and what the trainings that are left cost.

    Args:
        trials: From ``plan_suite``.
        console: Where to print.
    """

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    left: List[Trial] = []
    for trial in trials:
        for job in (trial.train, trial.test):
            state = 'done' if job.done else 'resume' if job.will_resume else 'to do'
            cost = ''
            if job is trial.train and state != 'done':
                left.append(trial)
                cost = f' | {describe_cost(trial)}'
            say(f'[{state}] {job.name}{cost}')
            if state != 'done':
                say(f'    {shlex.join([*job.command, *(["--resume"] if state == "resume" else [])])}')
    flops = [trial.cost.flops for trial in left]
    hours = [trial.cost.gpu_hours for trial in left]
    say(f'{len(left)} trainings are left: {_total(flops, 1e15, "PFLOP")}, {_total(hours, 1, "GPU-hours")}. '
        'FLOPs: images seen x 2 x MACs, three passes for what is trained and one for what is frozen. GPU-hours: from '
        "this work dir's own iterations, else from --tflops, else blank.")


def describe_cost(trial: Trial) -> str:
    """Returns a training's cost as text; blank where a figure is unknown."""
    cost = trial.cost
    hours = f'{cost.gpu_hours:.3g} GPU-hours ({cost.source})' if cost.gpu_hours is not None else ''
    flops = f'{cost.flops / 1e15:.3g} PFLOP' if cost.flops is not None else ''
    iterations = f'{cost.iterations} iterations' if cost.iterations is not None else ''
    return ', '.join(part for part in (iterations, flops, hours) if part)


def _total(values: List[Optional[float]], unit: float, name: str) -> str:
    known = [value for value in values if value is not None]
    text = f'{sum(known) / unit:.3g} {name}' if known else f'{name} unknown'
    return text if len(known) in (0, len(values)) else f'{text} for the {len(known)} that are known'
