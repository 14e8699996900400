"""Runs the parts of the report, each within its time in a process of its own, and saves every row as it comes."""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Sequence

import torch

from mmlocat.utils import atomic_write, first_line
from mmlocat.utils.kept_rows import KeptRows
from mmlocat.utils.machine import machine_and_software

from .page import describe, render
from .plan import PARTS, Part, Plan

Report = Dict[str, Any]
Row = Mapping[str, Any]


def run_report(plan: Plan, page: Path, parts: Sequence[Part] = PARTS) -> Report:
    """Runs all parts; one that fails or takes too long is noted and the next one begins.

    Page and JSON are rewritten with every row, so that an interruption loses nothing that was measured. Earlier files
    are kept until there is a first row. The next run after an interrupted one takes its rows from a file beside the
    page, except those that failed.

    Args:
        plan: The cases.
        page: The Markdown file; the JSON gets the same name with its own suffix.
        parts: The parts in their order.

    Returns:
        The content of the JSON.
    """
    entries = {part.name: dict(title=part.title, note=part.note, problem='not reached', rows=[]) for part in parts}
    report = dict(small=plan.small, about=machine_and_software(plan.device), parts=entries)
    end = time.monotonic()
    with KeptRows(page.with_suffix('.unfinished.json'), plan.device, '--out') as kept:
        for part in parts:
            end += part.seconds
            entry, seconds = entries[part.name], end - time.monotonic()
            entry['problem'] = 'interrupted'  # what page and JSON say unless the part comes to an end

            def keep(key: Row, row: Row, rows: list = entry['rows']) -> None:
                rows.append(row)
                if key in kept:
                    kept.get(key)  # keeps the date on which it was measured
                elif not row.get('problem'):
                    kept.add(key, row)
                _save(report, page)  # before anybody sees the row and interrupts
                print(describe(row), flush=True)

            print(f'{part.title}: at most {seconds:.0f} s', file=sys.stderr, flush=True)
            entry['problem'] = _run_part(part, plan, seconds, kept, keep)
            if entry['problem']:
                print(f'{part.title}: {entry["problem"]}', file=sys.stderr, flush=True)
    if any(entry['rows'] for entry in entries.values()):
        _save(report, page)
    return report


def _save(report: Report, page: Path) -> None:
    with atomic_write(page.with_suffix('.json')) as file:
        file.write(json.dumps(report, indent=1) + '\n')
    with atomic_write(page) as file:
        file.write(render(report))


def _run_part(part: Part, plan: Plan, seconds: float, kept: KeptRows,
              keep: Callable[[Row, Row], None]) -> str:
    """Runs a part in a new process, for one that failed may have made the GPU unusable; returns what went wrong."""
    end = time.monotonic() + seconds
    context = get_context('spawn')
    connection, other = context.Pipe()
    process = context.Process(target=_measure, args=(part, plan, kept, other))
    process.start()
    other.close()
    try:
        while connection.poll(max(0.0, end - time.monotonic())):
            said = connection.recv()
            if isinstance(said, str):
                return said
            keep(*said)
        return f'stopped: not done after {seconds:.0f} s'
    except (EOFError, OSError):
        process.join()
        return f'its process ended with exit code {process.exitcode}'
    finally:
        for end_it in (os.killpg, os.kill):  # it may have no group of its own yet
            with suppress(ProcessLookupError, PermissionError):
                end_it(process.pid, signal.SIGKILL)
        process.join()


def _measure(part: Part, plan: Plan, kept: KeptRows, connection: Connection) -> None:
    """Measures case by case; sends each one's key and row, or the reason if it failed; at last '' or why it ended."""
    os.setsid()  # Ctrl-C is for the parent, which ends this group and so whatever a compiler has started
    try:
        module, name = part.function.split(':')
        for shown, measure in getattr(importlib.import_module(module), name)(plan):
            key = dict(shown, part=part.name, seconds=plan.seconds)
            try:
                connection.send((key, kept.get(key) or {**shown, **measure()}))
            except Exception as error:  # whatever a kernel, a compiler or a model may raise
                connection.send((key, {**shown, 'problem': f'failed: {type(error).__name__}: {first_line(error)}'}))
            gc.collect()
            if plan.device.startswith('cuda'):
                torch.cuda.synchronize()  # raises again the error that made the device unusable
                torch.cuda.empty_cache()
    except Exception as error:
        connection.send(f'failed: {type(error).__name__}: {first_line(error)}')
    else:
        connection.send('')
