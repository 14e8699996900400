#!/usr/bin/env python
"""Says whether the data of a config are there, complete and sound. Exit code 1: no."""

import argparse
import sys

from mmlocat.utils import open_screen, stoppable
from mmlocat.utils.arguments import add_config_arguments


def read_options(argv=None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument('--quick', action='store_true', help='open a few samples of each split')
    depth.add_argument('--sample', type=int, metavar='N',
                       help='open N samples of each split, the same ones every time (default: some hundred)')
    depth.add_argument('--all', action='store_true', help='open all samples of each split')
    args = parser.parse_args(argv)
    if args.sample is not None and args.sample < 1:
        parser.error(f'--sample must be at least 1, got {args.sample}')
    return args


def main(argv=None) -> int:
    """Checks and prints; returns the exit code."""
    args = read_options(argv)
    open_screen()
    from mmlocat.config import load_config
    from mmlocat.datasets.check import QUICK_FILES, SAMPLED_FILES, check_data, render
    from mmlocat.training.cli import prepare_or_exit
    files = None if args.all else QUICK_FILES if args.quick else args.sample or SAMPLED_FILES

    def check() -> list:
        config = load_config(args.config, args.cfg_options)
        return check_data(config, files=files, progress=sys.stderr.isatty() or args.all)

    reports = prepare_or_exit(check)
    print(render(reports))
    return int(any(report.errors for report in reports))


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
