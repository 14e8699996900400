"""Runs the parts of the report under a budget of time, and keeps every row as it comes."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from rich.console import Console

from mmlocat.utils import atomic_write

from .about import about
from .page import describe, render
from .plan import PARTS, Part, Plan
from .worker import Worker

Report = Dict[str, Any]
_FORMAT = 1


def missing_module(part: Part) -> Optional[str]:
    """Returns the first module that a part needs and that is not installed; None if all are."""
    return next((name for name in part.needs if importlib.util.find_spec(name) is None), None)


def save(report: Report, page: Path) -> None:
    """Writes the page and the JSON beside it, once there is a figure: what was there before stays until then."""
    if not any(entry['rows'] for entry in report['parts'].values()):
        return
    with atomic_write(page.with_suffix('.json')) as file:
        json.dump(report, file, indent=1)
        file.write('\n')
    with atomic_write(page) as file:
        file.write(render(report))


def run_report(plan: Plan, device: str, page: Path, seconds: float, parts: Sequence[Part] = PARTS,
               chosen: Optional[Sequence[str]] = None) -> Report:
    """Runs all parts, each in its time; what fails is noted and the next one begins.

    Page and JSON are written anew with every row: interrupted, nothing that was measured is lost.

    Args:
        plan: The cases.
        device: Such as 'cpu' or 'cuda'.
        page: The Markdown file; the JSON gets its name.
        seconds: For all parts together. A part ends when its share of them is used, and what earlier ones left over.
        parts: In their order.
        chosen: Names of the parts to run; all by default.

    Returns:
        What the JSON holds.
    """
    console = Console(stderr=True)
    report: Report = dict(format=_FORMAT, small=plan.small, budget_seconds=seconds, about=about(device), parts={
        part.name: dict(title=part.title, state='not reached', reason='', seconds=0.0, rows=[]) for part in parts})
    begin, whole, used = time.monotonic(), sum(part.share for part in parts), 0.0

    def keep(rows: list, row: Dict[str, Any]) -> None:
        rows.append(row)
        print(describe(row), flush=True)
        save(report, page)

    try:
        with Worker(plan, device) as worker:
            for number, part in enumerate(parts, 1):
                used += part.share
                entry = report['parts'][part.name]
                missing = missing_module(part)
                if chosen is not None and part.name not in chosen:
                    entry.update(state='left out', reason='it was not asked for')
                    continue
                if missing:
                    entry.update(state='left out', reason=f'{missing} is not installed')
                    console.print(f'[{number}/{len(parts)}] {part.title}: left out, {entry["reason"]}', markup=False,
                                  highlight=False)
                    continue
                began = time.monotonic()
                left = begin + seconds * used / whole - began
                if left <= 0:
                    entry.update(state='failed', reason='no time was left for it')
                    continue
                console.print(f'[{number}/{len(parts)}] {part.title}: at most {left:.0f} s', markup=False,
                              highlight=False)
                entry['state'] = 'running'
                state, reason = worker.run(part, left, lambda row, rows=entry['rows']: keep(rows, row))
                entry.update(state=state, reason=reason, seconds=round(time.monotonic() - began, 1))
                if state == 'failed':
                    console.print(f'  failed: {reason}', markup=False, highlight=False)
                save(report, page)
    finally:
        for entry in report['parts'].values():
            if entry['state'] == 'running':
                entry.update(state='failed', reason='interrupted')
        report['seconds'] = round(time.monotonic() - begin, 1)
        save(report, page)
    return report
