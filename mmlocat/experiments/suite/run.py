"""Runs a plan so that a kill costs no more than the way back to the last checkpoint, or prints what it would run."""

from __future__ import annotations

import os
import shlex
from contextlib import closing
from pathlib import Path
from typing import List, Optional, Sequence

import torch
from filelock import FileLock, Timeout
from rich.console import Console

from mmlocat.experiments.leaderboard.board import add_costs
from mmlocat.experiments.leaderboard.output import update_readme

from .curve import CAPTION, draw_curves
from .plan import RECORD, Trial
from .queue import Job, end_on_signals, run_jobs
from .report import Report
from .rows import Suite
from .scenes import draw_pairs


def run_suite(suite: Suite, trials: Sequence[Trial], work_dir: Path, lanes: int, console: Console,
              readme: Optional[Path] = None) -> int:
    """Trains and tests what is not done yet; after every test the tables so far are written, and so is the readme.

    Args:
        suite: From ``load_suite``.
        trials: From ``plan_suite``.
        work_dir: Their root; one suite at a time runs in it.
        lanes: Jobs side by side.
        console: Where to print.
        readme: Markdown file whose marker ``suite:NAME`` shows the table so far; above it, of a suite that trains
            backbones on for shares of their pretraining, their curve, which becomes NAME.png beside the file.

    Returns:
        The exit code: 0, 1 after a failed job, 130 after Ctrl-C or a request to end. The same call goes on.
    """

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    end_on_signals()
    jobs = _jobs(trials)
    try:
        say(f'{sum(job.done for job in jobs)} of {len(jobs)} steps are done; all goes to {work_dir}')
        work_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(str(work_dir / '.lock'), timeout=0):
            with closing(run_jobs(jobs, console, lanes)) as ended:
                for job in ended:
                    if job.product == RECORD:
                        _write(Report(suite, trials, work_dir), readme)
            report = Report(suite, trials, work_dir)
            add_costs(list(report.rows.values()))
            _write(report, readme)
            pictures = draw_pairs(work_dir, suite, trials)
    except Timeout:
        say(f'Error: another suite is running in {work_dir}; wait for it, or give another --work-dir')
        return 1
    except (OSError, ValueError, RuntimeError) as error:
        say(f'Error: {error}\nThe same command goes on from here.')
        return 1
    except KeyboardInterrupt:
        say('Interrupted. Nothing is lost: the same command goes on from the last checkpoints.')
        return 130
    report.table().print()
    shown = ''.join(f'Picture: {picture}\n' for picture in pictures)
    say(f'{report.verdict()}\n{shown}Table: {work_dir / "summary.md"}\n'
        f'All done. Beside published numbers: python tools/benchmark/leaderboard.py {work_dir}')
    return 0


def _write(report: Report, readme: Optional[Path]) -> None:
    """Writes what is measured so far: into the work dir, and to where it outlives that, which may be a tracked file."""
    report.write()
    draw_curves(report.work_dir / 'curve.png', report.suite, report.rows)
    if readme:
        name = report.suite.name
        drawn = draw_curves(readme.with_name(f'{name}.png'), report.suite, report.rows)
        update_readme(readme, {f'suite:{name}': (f'![{CAPTION}]({name}.png)\n\n' if drawn else '') + report.markdown()})


def _jobs(trials: Sequence[Trial]) -> List[Job]:
    return [job for trial in trials for job in trial.jobs]


def hide_too_few_gpus(suite: Suite, console: Console) -> bool:
    """Hides the GPUs from all jobs, and says so, if rows ask for more processes: NCCL takes one process a GPU."""
    gpus, processes = torch.cuda.device_count(), max((row.processes or 1 for row in suite.rows), default=1)
    if not 0 < gpus < processes:
        return False
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    console.print(f'{gpus} GPU, and heads are trained by {processes} processes: all runs on CPUs.')
    return True


def show_plan(trials: Sequence[Trial], console: Console) -> None:
    """Prints the state of every step, and the command of each that is left."""
    for job in _jobs(trials):
        state = 'done' if job.done else 'resume' if job.will_resume else 'to do'
        text = f'[{state}] {job.name}'
        if state != 'done':
            text += f'\n    {shlex.join([*job.command, *(["--resume"] if state == "resume" else [])])}'
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    left = sum(trial.train is not None and not trial.train.done for trial in trials)
    console.print(f'{left} trainings are left.', highlight=False)
