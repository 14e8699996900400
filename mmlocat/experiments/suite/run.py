"""Runs a plan so that a kill costs no more than the way back to the last checkpoint, or prints what it would run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import List, Optional

from filelock import FileLock, Timeout
from rich.console import Console

from mmlocat.experiments.demo.plan import SeedPlan, Step
from mmlocat.experiments.demo.report import end_on_signals
from mmlocat.experiments.demo.run import StepFailed, StepRunner, is_done, will_resume

from .plan import Job, Plan


def run_suite(plan: Plan, work_dir: Path, lanes: int, console: Console) -> int:
    """Trains and tests what is not done yet.

    Args:
        plan: From ``plan_suite``.
        work_dir: Its root; one suite at a time runs in it.
        lanes: Chains of jobs side by side.
        console: Where to print.

    Returns:
        The exit code: 0, 1 after a failed step, 130 after Ctrl-C or a request to end. The same call goes on.
    """
    end_on_signals()
    steps = SeedPlan(0, work_dir, [[step for job in chain for step in (job.train, job.test)] for chain in plan.chains])
    try:
        console.print(f'{sum(map(is_done, steps.steps))} of {len(steps.steps)} steps are done; all goes to {work_dir}',
                      highlight=False, soft_wrap=True)
        work_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(str(work_dir / '.lock'), timeout=0), StepRunner([steps], console, lanes, pace=None) as runner:
            runner.run(steps)
    except Timeout:
        console.print(f'Error: another suite is running in {work_dir}; wait for it, or give another --work-dir',
                      markup=False, soft_wrap=True)
        return 1
    except (StepFailed, OSError, ValueError, RuntimeError) as error:
        console.print(f'Error: {error}\nThe same command goes on from here.', markup=False, highlight=False,
                      soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print('Interrupted. Nothing is lost: the same command goes on from the last checkpoints.')
        return 130
    console.print(f'All done. The table: python tools/benchmark/leaderboard.py {work_dir}', highlight=False,
                  soft_wrap=True)
    return 0


def show_plan(plan: Plan, console: Console) -> None:
    """Prints every command with its state, and what the trainings that are left cost.

    Args:
        plan: From ``plan_suite``.
        console: Where to print.
    """

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    left: List[Job] = []
    for job in plan.jobs:
        for step in (job.train, job.test):
            state = _state(step)
            cost = ''
            if step is job.train and state != 'done':
                left.append(job)
                cost = f' | {describe_cost(job)}'
            say(f'[{state}] {step.name}{cost}')
            if state != 'done':
                say(f'    {shlex.join([*step.command, *(["--resume"] if state == "resume" else [])])}')
    flops = [job.cost.flops for job in left]
    hours = [job.cost.gpu_hours for job in left]
    say(f'{len(left)} trainings are left: {_total(flops, 1e15, "PFLOP")}, {_total(hours, 1, "GPU-hours")}. '
        'FLOPs: images seen x 2 x MACs, three passes for what is trained and one for what is frozen. GPU-hours: from '
        "this work dir's own iterations, else from --tflops, else blank.")


def describe_cost(job: Job) -> str:
    """Returns a training's cost as text; blank where a figure is unknown."""
    cost = job.cost
    hours = f'{cost.gpu_hours:.3g} GPU-hours ({cost.source})' if cost.gpu_hours is not None else ''
    flops = f'{cost.flops / 1e15:.3g} PFLOP' if cost.flops is not None else ''
    iterations = f'{cost.iterations} iterations' if cost.iterations is not None else ''
    return ', '.join(part for part in (iterations, flops, hours) if part)


def _total(values: List[Optional[float]], unit: float, name: str) -> str:
    known = [value for value in values if value is not None]
    text = f'{sum(known) / unit:.3g} {name}' if known else f'{name} unknown'
    return text if len(known) in (0, len(values)) else f'{text} for the {len(known)} that are known'


def _state(step: Step) -> str:
    return 'done' if is_done(step) else 'resume' if will_resume(step) else 'to do'
