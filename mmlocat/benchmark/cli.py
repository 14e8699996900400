"""What the benchmarks' command lines share: options, rows of an interrupted call, cells of a row."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, Sequence, Tuple

import torch

from mmlocat.utils import check_folder, with_progress
from mmlocat.utils.kept_rows import KeptRows

from .measure import Ratio, Result

WORK_DIR = Path('work_dirs/benchmark')
Turn = Tuple[str, Any]  # mode and case


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Adds device, dtype, time and output options, and reads the command line; see ``parse_common``."""
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16', 'float16'))
    parser.add_argument('--seconds', type=float, default=5, help='time for the turns of one case (default: 5)')
    parser.add_argument('--no-memory', action='store_true', help='time only')
    return parse_common(parser)


def parse_common(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Adds ``--markdown`` and ``--work-dir``, and reads the command line.

    It ends the process if PyTorch does not see the device, or if the folder cannot be written.
    """
    parser.add_argument('--markdown', action='store_true', help='print a Markdown table')
    parser.add_argument('--work-dir', type=Path, default=WORK_DIR,
                        help='folder for the rows of an interrupted call, which the next one takes (default: '
                             '%(default)s)')
    args = parser.parse_args()
    device = getattr(args, 'device', 'cpu')
    try:
        where = torch.device(device)
        check_folder('--work-dir', args.work_dir)
    except RuntimeError:
        parser.error(f'--device {device} is no device of PyTorch; such are cpu, cuda and cuda:1')
    except ValueError as error:
        parser.error(str(error))
    count = torch.cuda.device_count() if where.type == 'cuda' else 0
    if where.type == 'cuda' and (where.index or 0) >= count:
        known = f', or give cuda:0{f" to cuda:{count - 1}" if count > 1 else ""}' if count else ''
        parser.error(f'--device {device}: PyTorch sees {count or "no"} GPU{"s" if count > 1 else ""} here; leave the '
                     f'option out for the CPU{known}')
    return args


def measured(kept: KeptRows, turns: Sequence[Turn], describe: Callable[[Turn], str], options: Mapping[str, Any],
             measure: Callable[[Turn], List[Result]]) -> Iterator[Result]:
    """Yields the rows of each turn when it is done, with progress on stderr; what was kept is not measured again.

    Args:
        kept: The rows of an interrupted call.
        turns: What to measure.
        describe: Returns a turn's name.
        options: What the rows depend on beside mode and case.
        measure: Returns the rows of a turn.
    """
    def key(turn: Turn) -> Mapping[str, Any]:
        return dict(mode=turn[0], case=turn[1]._asdict(), **options)

    for turn in with_progress(turns, describe, lambda turn: key(turn) in kept):
        rows = kept.call(key(turn), lambda turn=turn: [(row.name, row.time, row.extra) for row in measure(turn)])
        for name, time, extra in rows:
            yield Result(turn[1], turn[0], name, Ratio(*time), extra)


def cells(result: Result, *case: Any) -> Tuple[Any, ...]:
    """Returns a row: mode, contender, the cells of ``case``, ms, ratio to the baseline, its quartiles, MiB."""
    time, ms = result.time, result.time.seconds * 1e3
    return (result.mode, result.name, *case, f'{ms:.2f}' if ms < 10 else f'{ms:.1f}' if ms < 100 else f'{ms:.0f}',
            f'{time.ratio:.2f}', f'{time.low:.2f} - {time.high:.2f}',
            None if result.extra is None else f'{result.extra:.1f}')
