#!/usr/bin/env python
"""Gathers tested checkpoints: published beside measured, mean and spread over seeds, and what each came from."""

import argparse
import os
import sys
from pathlib import Path

import torch

from mmlocat.experiments.leaderboard import output
from mmlocat.experiments.leaderboard.board import add_costs, add_speed, build_board
from mmlocat.experiments.leaderboard.plot import draw
from mmlocat.experiments.leaderboard.runs import gather
from mmlocat.utils import atomic_write, stoppable


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='searched at any depth for provenance.json')
    parser.add_argument('--out', type=Path, help='folder for leaderboard.md, .csv, .json, .png and class_iou.csv')
    parser.add_argument('--plot', type=Path, help='file for the plot alone')
    parser.add_argument(
        '--readme', type=Path, help='Markdown file: replace the text between <!-- leaderboard:DATASET --> and its end')
    parser.add_argument('--paper', action='store_true', help="also the paper's rows of data sets that nobody measured")
    parser.add_argument('--speed', type=float, nargs='?', const=20., metavar='SECONDS',
                        help='measure images/s on this machine, so long for each table (default: 20)')
    parser.add_argument('--speed-batch', type=int, default=32, help='images a call (default: 32)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='for --speed')
    args = parser.parse_args()
    if args.speed is not None and args.speed <= 0 or args.speed_batch < 1:
        parser.error('--speed and --speed-batch take positive numbers')
    if args.out and args.out.exists() and not args.out.is_dir():
        parser.error(f'--out {args.out} is a file; it names a folder')
    return args


def main() -> int:
    """Gathers the results, measures what the options ask for, and writes the leaderboard."""
    args = read_options()
    try:
        sections = build_board(gather(args.work_dirs), args.paper)
        add_costs(sections)
        if args.speed:
            add_speed(sections, args.speed, args.speed_batch, args.device)
        plot = args.plot or (args.out / 'leaderboard.png' if args.out else None)
        if plot:
            draw(plot, sections)
        if args.out:
            files = dict(md=output.to_markdown(sections, picture=os.path.relpath(plot, args.out)),
                         csv=output.to_csv(sections), json=output.to_json(sections))
            for suffix, text in files.items():
                with atomic_write(args.out / f'leaderboard.{suffix}') as file:
                    file.write(text)
            with atomic_write(args.out / 'class_iou.csv') as file:
                file.write(output.class_csv(sections))
        if args.readme:
            done = output.update_readme(args.readme, output.readme_texts(sections, args.readme, plot))
            print(f'{args.readme}: {", ".join(done)} replaced', file=sys.stderr)
    except (OSError, ValueError, RuntimeError) as error:
        print(f'Error: {error}', file=sys.stderr)
        return 1
    print(output.to_markdown(sections))
    return 0


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
