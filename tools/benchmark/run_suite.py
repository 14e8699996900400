#!/usr/bin/env python
"""Trains and tests the rows of a suite that are not done yet; killed and started again, it goes on."""

import argparse
import sys
from pathlib import Path

import torch

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.experiments.leaderboard.output import find_markers, read_readme
from mmlocat.experiments.suite.plan import plan_suite
from mmlocat.experiments.suite.rows import load_suite
from mmlocat.experiments.suite.run import hide_too_few_gpus, run_suite, show_plan
from mmlocat.utils import check_folder, stoppable
from mmlocat.utils.tables import console


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('suite', help='YAML file, or the name of a shipped one: demo, digitscenes, '
                                      'digitscenes-variants, stampscenes, stampscenes-published, retrofit, paper, '
                                      'swin, rope, jumbo, retrieval, dino')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/SUITE')
    parser.add_argument('--gpus', type=int, default=1,
                        help='processes of each training and test whose row states none (default: 1)')
    parser.add_argument('--slurm', metavar='PARTITION', help='run every step as a Slurm job of --gpus GPUs')
    parser.add_argument('--jobs', type=int, default=1,
                        help='steps side by side, over Slurm or on CPUs (default: 1)')
    parser.add_argument('--rows', nargs='+', metavar='PATTERN', help='only rows of these names, and what they need')
    parser.add_argument('--dry-run', action='store_true', help='print what is left, and its commands')
    parser.add_argument('--readme', type=Path,
                        help='Markdown file: after each test, replace the text between <!-- suite:SUITE --> and its '
                             'end')
    args = parser.parse_args()
    if args.gpus < 1 or args.jobs < 1:
        parser.error('--gpus and --jobs take positive whole numbers')
    try:
        check_folder('--work-dir', args.work_dir or Path('work_dirs'))
        if args.readme:
            read_readme(args.readme)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return args


def main() -> int:
    """Reads the suite and runs it."""
    args = read_options()
    try:
        suite = load_suite(args.suite)
        work_dir = (args.work_dir or Path('work_dirs') / suite.name).resolve()
        if args.readme:  # whose markers the file must have, before days of training
            find_markers(args.readme, [f'suite:{suite.name}'])
        if args.rows:
            suite = suite.select(args.rows)
        trials = plan_suite(suite, work_dir, args.gpus, args.slurm)
    except (OSError, ValueError, RuntimeError) as error:
        print(f'Error: {error}', file=sys.stderr)
        return 1
    screen = console()
    if args.dry_run:
        show_plan(trials, screen)
        return 0
    on_cpus = not args.slurm and hide_too_few_gpus(suite, screen)
    if args.jobs > 1 and not args.slurm and not on_cpus and torch.cuda.is_available():
        print('Error: --jobs on this machine would make trainings share its GPUs; use it with --slurm', file=sys.stderr)
        return 2
    return run_suite(suite, trials, work_dir, args.jobs, screen, args.readme)


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
