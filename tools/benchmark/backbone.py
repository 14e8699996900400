#!/usr/bin/env python
"""LocAtViT beside this package's plain ViT and MMPretrain's, in turns in one run: time, memory and their ratios."""

import argparse
import sys

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.benchmark.backbone import MODES, Case, measure
from mmlocat.benchmark.cli import cells, measured, parse
from mmlocat.utils import stoppable
from mmlocat.utils.kept_rows import KeptRows
from mmlocat.utils.machine import machine
from mmlocat.utils.tables import Table

# Columns of the table and their widths in characters.
COLUMNS = {'mode': 13, 'model': 14, 'size': 5, 'image': 5, 'ms': 6, 'x mmpretrain': 12, 'quartiles': 13,
           'growth MiB': 10}
PATCH = 16


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--archs', nargs='+', default=['tiny', 'base'], choices=('tiny', 'small', 'base'))
    parser.add_argument('--images', type=int, nargs='+', default=[224, 512], help='pixels a side')
    parser.add_argument('--modes', nargs='+', default=list(MODES), choices=MODES)
    parser.add_argument('--batch', type=int, default=1)
    args = parse(parser)
    for image in args.images:
        if image < PATCH or image % PATCH:
            parser.error(f'--images takes multiples of {PATCH}, the patch size; got {image}')
    if args.batch < 1:
        parser.error(f'--batch must be at least 1, got {args.batch}')
    return args


def main() -> int:
    """Measures case by case and prints each case's rows when it is done; an interrupted run keeps them."""
    args = read_options()
    cases = [Case(arch, image, args.batch, args.dtype, args.device) for arch in args.archs for image in args.images]
    table = Table(COLUMNS, f'{args.dtype}, batch {args.batch}. {machine(args.device)}', words=2)
    turns = [(mode, case) for mode in args.modes for case in cases]
    options = dict(seconds=args.seconds, memory=not args.no_memory)
    try:
        with KeptRows(args.work_dir / 'backbone.json', args.device) as kept:
            for result in measured(kept, turns, lambda turn: f'{turn[0]}, {turn[1].arch}, {turn[1].image} px', options,
                                   lambda turn: measure(turn[1], turn[0], *options.values())):
                table.print_row(*cells(result, result.case.arch, result.case.image), markdown=args.markdown,
                                widths=COLUMNS.values())
    except (RuntimeError, ValueError, OSError) as error:  # a model that differs from its reference, above all
        print(f'Error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
