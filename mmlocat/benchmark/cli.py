"""Defines the options that both benchmarks' command lines share, and formats a row of their tables."""

from __future__ import annotations

import argparse
from typing import Any, Tuple

import torch

from .measure import Result


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Adds device, dtype, time and output options, and reads the command line.

    It ends the process if PyTorch does not see the device.
    """
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16', 'float16'))
    parser.add_argument('--seconds', type=float, default=5, help='time for the turns of one case (default: 5)')
    parser.add_argument('--no-memory', action='store_true', help='time only')
    parser.add_argument('--markdown', action='store_true', help='print a Markdown table')
    args = parser.parse_args()
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        parser.error(f'--device {args.device}: PyTorch sees no GPU here; leave the option out for the CPU')
    return args


def cells(result: Result, *case: Any) -> Tuple[Any, ...]:
    """Returns a row: mode, contender, the cells of ``case``, ms, ratio to the baseline, its quartiles, MiB."""
    time, ms = result.time, result.time.seconds * 1e3
    return (result.mode, result.name, *case, f'{ms:.2f}' if ms < 10 else f'{ms:.1f}' if ms < 100 else f'{ms:.0f}',
            f'{time.ratio:.2f}', f'{time.low:.2f} - {time.high:.2f}',
            None if result.extra is None else f'{result.extra:.1f}')
