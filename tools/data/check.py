#!/usr/bin/env python
"""Says whether the data of a config are there, complete and sound. Exit code 1: no."""

import argparse
import sys

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.config import add_config_arguments, load_config
from mmlocat.datasets.check import QUICK_FILES, SAMPLED_FILES, check_data, render
from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import stoppable


def read_options(argv=None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument('--quick', action='store_true', help=f'open {QUICK_FILES} samples of each split')
    depth.add_argument('--sample', type=int, default=SAMPLED_FILES, metavar='N',
                       help='open N samples of each split, the same ones every time (default: %(default)s)')
    depth.add_argument('--all', action='store_true', help='open all samples of each split')
    args = parser.parse_args(argv)
    if args.sample < 1:
        parser.error(f'--sample must be at least 1, got {args.sample}')
    args.files = None if args.all else QUICK_FILES if args.quick else args.sample
    return args


def main(argv=None) -> int:
    """Checks and prints; returns the exit code."""
    args = read_options(argv)

    def check() -> list:
        config = load_config(args.config, args.cfg_options)
        return check_data(config, files=args.files, progress=sys.stderr.isatty() or args.all)

    reports = prepare_or_exit(check)
    print(render(reports))
    return int(any(report.errors for report in reports))


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
