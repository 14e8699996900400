"""Runs the parts of the report within a time budget, and saves every row as it comes."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from mmlocat.utils import atomic_write
from mmlocat.utils.machine import machine_and_software

from .page import describe, render
from .plan import PARTS, Part, Plan
from .worker import DONE, NO_TIME, Worker

Report = Dict[str, Any]
_FORMAT = 1


def missing_module(part: Part) -> Optional[str]:
    """Returns the first module that a part needs and that is not installed; None if all are."""
    return next((name for name in part.needs if importlib.util.find_spec(name) is None), None)


def save(report: Report, page: Path) -> None:
    """Writes the page and the JSON beside it; earlier files are kept until there is a first figure."""
    if not any(entry['rows'] for entry in report['parts'].values()):
        return
    with atomic_write(page.with_suffix('.json')) as file:
        json.dump(report, file, indent=1)
        file.write('\n')
    with atomic_write(page) as file:
        file.write(render(report))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def state_of(rows: Sequence[Mapping[str, Any]]) -> Tuple[str, str]:
    """Returns the state of a finished part, and a remark on it.

    The part has failed if one of its cases failed or a back-end exceeds its tolerance.
    """
    failed = sum(str(row.get('problem', '')).startswith('failed') for row in rows)
    wrong = sum(row.get('ok') is False for row in rows)
    late = sum(row.get('problem') == NO_TIME for row in rows)
    said = [f'{number} {text}' for number, text in ((failed, 'cases failed'), (wrong, 'beyond tolerance'),
                                                    (late, 'cases found no time')) if number]
    return ('failed' if failed or wrong else DONE), ', '.join(said)


def _reason_to_leave_out(part: Part, chosen: Optional[Sequence[str]]) -> str:
    if chosen is not None and part.name not in chosen:
        return 'it was not asked for'
    missing = missing_module(part)
    return f'{missing} is not installed' if missing else ''


def run_report(plan: Plan, device: str, page: Path, seconds: float, parts: Sequence[Part] = PARTS,
               chosen: Optional[Sequence[str]] = None) -> Report:
    """Runs all parts, each within its time; a part that fails is noted and the next one begins.

    Page and JSON are rewritten with every row, so that an interruption loses nothing that was measured.

    Args:
        plan: The cases.
        device: Such as 'cpu' or 'cuda'.
        page: The Markdown file; the JSON gets the same name with its own suffix.
        seconds: Time for all parts. A part ends when it has used its share, and what earlier parts left over.
        parts: The parts in their order.
        chosen: Names of the parts to run; all by default.

    Returns:
        The content of the JSON.
    """
    entries = {part.name: dict(title=part.title, state='not reached', reason='', seconds=0.0, rows=[])
               for part in parts}
    report: Report = dict(format=_FORMAT, small=plan.small, budget_seconds=seconds,
                          about=machine_and_software(device), parts=entries)
    begin, whole, used = time.monotonic(), sum(part.share for part in parts), 0.0
    entry: Dict[str, Any] = {}

    def write() -> None:
        report['seconds'] = round(time.monotonic() - begin, 1)
        save(report, page)

    def keep(row: Dict[str, Any]) -> None:
        entry['rows'].append(row)
        print(describe(row), flush=True)
        write()

    try:
        with Worker(plan, device) as worker:
            for number, part in enumerate(parts, 1):
                used += part.share
                entry, head = entries[part.name], f'[{number}/{len(parts)}] {part.title}: '
                reason, began = _reason_to_leave_out(part, chosen), time.monotonic()
                left = begin + seconds * used / whole - began
                if reason:
                    entry.update(state='left out', reason=reason)
                elif left <= 0:
                    entry.update(state='failed', reason='no time was left for it')
                else:
                    _say(f'{head}at most {left:.0f} s')
                    entry['state'] = 'running'
                    state, reason = worker.run(part, left, keep)
                    entry['state'], entry['reason'] = state_of(entry['rows']) if state == DONE else (state, reason)
                    entry['seconds'] = round(time.monotonic() - began, 1)
                if entry['state'] != DONE or entry['reason']:
                    _say(f'{head}{entry["state"]}, {entry["reason"]}')
                write()
    finally:
        if entry.get('state') == 'running':
            entry.update(state='failed', reason='interrupted')
            _say(f'Interrupted: {sum(len(each["rows"]) for each in entries.values())} rows are in {page}')
        write()
    return report
