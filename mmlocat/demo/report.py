"""The demo from its first line to its last."""

from __future__ import annotations

from pathlib import Path
from typing import List, Sequence

from rich.console import Console

from mmlocat.datasets import prepare_digit_scenes
from mmlocat.utils import atomic_write

from . import results
from .picture import draw_summary
from .plan import ARMS, SeedPlan
from .run import Interrupted, Runner, StepFailed, is_done


def run_demo(plans: List[SeedPlan], arms: Sequence[str], work_dir: Path, console: Console) -> int:
    """Runs all plans; after every seed the results so far are written.

    Args:
        plans: One a seed.
        arms: Keys of ``ARMS`` to report.
        work_dir: Root of all work dirs.
        console: Where to print.

    Returns:
        The exit code: 0, 1 after a failed step, 130 after Ctrl-C.
    """
    try:
        console.print(f'Data: {prepare_digit_scenes()}', highlight=False)
        steps = [step for plan in plans for step in plan.steps]
        console.print(f'{sum(map(is_done, steps))} of {len(steps)} steps are done; all goes to {work_dir}')
        with Runner(plans, console) as runner:
            for plan in plans:
                runner.run(plan)
                summary = write_results(work_dir, range(plan.seed + 1), arms)
    except StepFailed as error:
        console.print(f'Error: {error}', markup=False, highlight=False)
        return 1
    except (Interrupted, KeyboardInterrupt):
        console.print('Interrupted. Nothing is lost: the same command goes on from the last checkpoints.')
        return 130
    results.show(console, 'DigitScenes, test split', results.rows(summary))
    results.show(console, 'By class (mean over seeds)', results.class_rows(summary))
    console.print(results.verdict(summary), highlight=False)
    console.print(f'Picture: {work_dir / "summary.png"}\nTable: {work_dir / "summary.md"}', highlight=False)
    return 0


def write_results(work_dir: Path, seeds: Sequence[int], arms: Sequence[str]) -> results.Summary:
    """Writes summary.json, summary.md and summary.png from what is complete.

    Args:
        work_dir: Root of all work dirs.
        seeds: Which to gather.
        arms: Keys of ``ARMS``.

    Returns:
        The figures.
    """
    summary = results.collect(work_dir, seeds, arms)
    results.measure_speed(summary)
    summary.save(work_dir / 'summary.json')
    with atomic_write(work_dir / 'summary.md') as file:
        file.write(results.markdown(results.rows(summary)) + '\n')
        file.write(results.markdown(results.class_rows(summary)) + '\n' + results.verdict(summary) + '\n')
    seed = work_dir / f'seed{seeds[0]}'
    pictured = [(ARMS[arm].title, seed / arm / 'linear_test' / 'predictions') for arm in ('vit', 'locatvit')]
    draw_summary(work_dir / 'summary.png', results.test_scenes(), [p for p in pictured if p[1].is_dir()])
    return summary
