#!/usr/bin/env python
"""Estimates GPU-hours of suites and single trainings from counted operations; nothing is measured."""

import argparse
import sys
from pathlib import Path

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.experiments.leaderboard.output import read_readme, update_readme
from mmlocat.experiments.suite.costs import EXAMPLES, cost_table, suites
from mmlocat.utils import stoppable


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('names', nargs='*', metavar='NAME',
                        help='suites and shipped configs (default: every suite for GPUs, and single trainings)')
    parser.add_argument('--readme', type=Path,
                        help='Markdown file: replace the text between <!-- costs --> and its end')
    args = parser.parse_args()
    try:
        if args.readme:
            read_readme(args.readme)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return args


def main() -> int:
    """Estimates and prints the table."""
    args = read_options()
    try:
        table = cost_table(args.names or [*suites(), *EXAMPLES], show=True)
        if args.readme:
            update_readme(args.readme, {'costs': f'{table.markdown()}\n'})
    except (OSError, ValueError, RuntimeError) as error:
        print(f'Error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
