"""The command-line options that both benchmark scripts have."""

from __future__ import annotations

import argparse

import torch


def add_common_options(parser: argparse.ArgumentParser, seconds: float) -> None:
    """Adds device, dtype, time and output options.

    Args:
        parser: Where to.
        seconds: Default time for the turns of one case.
    """
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16', 'float16'))
    parser.add_argument(
        '--seconds', type=float, default=seconds, help=f'time for the turns of one case (default: {seconds:g})')
    parser.add_argument('--no-memory', action='store_true', help='time only')
    parser.add_argument('--markdown', action='store_true', help='print a Markdown table')


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Reads the command line, and ends the process where PyTorch does not see the device."""
    args = parser.parse_args()
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        parser.error(f'--device {args.device}: PyTorch sees no GPU here; leave the option out for the CPU')
    return args
