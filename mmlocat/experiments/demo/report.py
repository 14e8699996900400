"""The demo from its first line to its last."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import List, Sequence

import torch
from filelock import FileLock, Timeout
from rich.console import Console

from mmlocat.datasets import prepare_digit_scenes
from mmlocat.utils import atomic_write

from . import results
from .picture import draw_summary
from .plan import ARMS, DEMO_ARMS, PROCESSES, SeedPlan
from .run import StepFailed, StepRunner, is_done


def run_demo(plans: List[SeedPlan], work_dir: Path, console: Console) -> int:
    """Runs all plans; after every seed the results so far are written.

    Args:
        plans: One a seed.
        work_dir: Root of all work dirs; one demo at a time runs in it.
        console: Where to print.

    Returns:
        The exit code: 0, 1 after a failed step, 130 after Ctrl-C or a request to end.
    """
    end_on_signals()
    try:
        console.print(f'Data: {prepare_digit_scenes()}', highlight=False)
        steps = [step for plan in plans for step in plan.steps]
        console.print(f'{sum(map(is_done, steps))} of {len(steps)} steps are done; all goes to {work_dir}')
        work_dir.mkdir(parents=True, exist_ok=True)
        variables = {}
        gpus = torch.cuda.device_count()
        if 0 < gpus < PROCESSES:  # NCCL takes one process a GPU
            console.print(f'{gpus} GPU, and heads are trained by {PROCESSES} processes: all runs on CPUs.')
            variables = dict(CUDA_VISIBLE_DEVICES='')
        with FileLock(str(work_dir / '.lock'), timeout=0), \
                StepRunner(plans, console, variables=variables) as runner:
            for plan in plans:
                runner.run(plan)
                summary = write_results(work_dir, plans)
    except Timeout:
        console.print(f'Error: another demo is running in {work_dir}; wait for it, or give another --work-dir')
        return 1
    except (StepFailed, OSError, ValueError, RuntimeError) as error:
        console.print(f'Error: {error}', markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print('Interrupted. Nothing is lost: the same command goes on from the last checkpoints.')
        return 130
    results.show(console, 'DigitScenes, test split', results.rows(summary))
    results.show(console, 'By class (mean over seeds)', results.class_rows(summary))
    if len(plans) > 1:
        results.show(console, 'By seed', results.seed_rows(summary))
    console.print(results.verdict(summary), highlight=False)
    console.print(f'Picture: {work_dir / "summary.png"}\nTable: {work_dir / "summary.md"}', highlight=False)
    return 0


def end_on_signals() -> None:
    """Lets Ctrl-C, a request to end and a closed terminal all end the demo in order.

    Ctrl-C too, because a shell starts background jobs with it ignored, and what they start inherits that.
    """

    def interrupt(number, frame) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def write_results(work_dir: Path, plans: Sequence[SeedPlan]) -> results.Summary:
    """Writes summary.json, summary.md and summary.png from what is complete.

    Args:
        work_dir: Root of all work dirs.
        plans: What to gather.

    Returns:
        The figures.
    """
    summary = results.collect(plans)
    results.measure_speed(summary)
    summary.save(work_dir / 'summary.json')
    tables = [results.rows(summary), results.class_rows(summary), results.seed_rows(summary)]
    with atomic_write(work_dir / 'summary.md') as file:
        file.write('\n'.join([*map(results.markdown, tables), results.verdict(summary), '']))
    pictured = [(ARMS[arm].title, plans[0].root / arm / 'linear_test' / 'predictions') for arm in DEMO_ARMS]
    draw_summary(work_dir / 'summary.png', results.test_scenes(), pictured)
    return summary
