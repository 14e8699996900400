#!/usr/bin/env python
"""Tries every head of the installed MMSegmentation on LocAtViT: trained, tested on an odd size, exported to ONNX."""

import argparse
from pathlib import Path

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.benchmark.cli import parse_common
from mmlocat.experiments.heads import report, try_heads
from mmlocat.experiments.leaderboard.output import read_readme, update_readme
from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import stoppable
from mmlocat.utils.kept_rows import KeptRows


def main() -> None:
    """Tries the heads and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('heads', nargs='*', metavar='HEAD', help='names of classes, such as DPTHead (default: all)')
    parser.add_argument('--readme', type=Path,
                        help='Markdown file: replace the text between <!-- heads --> and its end')
    args = parse_common(parser)
    if args.readme and args.heads:
        parser.error('--readme replaces the whole table: leave the names of heads out')
    if args.readme:
        read_readme(args.readme)
    with KeptRows(args.work_dir / 'heads.json') as kept:
        rows = try_heads(args.heads, kept.call)
    text = report(rows)
    print(text)
    if args.readme:
        update_readme(args.readme, {'heads': text})


if __name__ == '__main__':
    with stoppable():
        prepare_or_exit(main)
