#!/usr/bin/env python
"""Gathers tested checkpoints: published beside measured, mean and spread over seeds, and what each came from."""

import argparse
import os
import sys
from pathlib import Path

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.benchmark.cli import WORK_DIR
from mmlocat.experiments.leaderboard import output
from mmlocat.experiments.leaderboard.board import add_costs, build_board
from mmlocat.experiments.leaderboard.runs import gather
from mmlocat.utils import atomic_write, check_folder, stoppable
from mmlocat.utils.kept_rows import KeptRows


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='searched at any depth for provenance.json')
    parser.add_argument('--out', type=Path, help='folder for leaderboard.md, .json and .png')
    parser.add_argument('--plot', type=Path, help='file for the plot alone')
    parser.add_argument(
        '--readme', type=Path, help='Markdown file: replace the text between <!-- leaderboard:DATASET --> and its end')
    parser.add_argument('--paper', action='store_true', help="also the paper's rows of data sets that nobody measured")
    args = parser.parse_args()
    try:
        if args.out:
            check_folder('--out', args.out)
        if args.plot:
            check_folder('the folder of --plot', args.plot.parent)
        if args.readme:
            output.read_readme(args.readme)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return args


def main() -> int:
    """Gathers the results and writes the leaderboard."""
    args = read_options()
    try:
        rows = build_board(gather(args.work_dirs), args.paper)
        with KeptRows((args.out or WORK_DIR) / 'leaderboard.unfinished.json') as kept:
            add_costs(rows, kept.call)
        plot = args.plot or (args.out / 'leaderboard.png' if args.out else None)
        if plot:
            output.draw(plot, rows)
        if args.out:
            with atomic_write(args.out / 'leaderboard.md') as file:
                file.write(output.to_markdown(rows, picture=os.path.relpath(plot, args.out)))
            with atomic_write(args.out / 'leaderboard.json') as file:
                file.write(output.to_json(rows))
        if args.readme:
            done = output.update_readme(args.readme, output.readme_texts(rows, args.readme, plot))
            print(f'{args.readme}: {", ".join(done)} replaced', file=sys.stderr)
    except (OSError, ValueError, RuntimeError) as error:
        print(f'Error: {error}', file=sys.stderr)
        return 1
    print(output.to_markdown(rows))
    return 0


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
