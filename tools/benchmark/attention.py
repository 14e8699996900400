#!/usr/bin/env python
"""GAug attention by back-end beside plain attention, in turns in one run: time, memory and their ratios."""

import argparse
import sys
from pathlib import Path

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen(openmmlab=False)  # before the imports, which take seconds

from mmlocat.attention import available_backends
from mmlocat.benchmark.attention import PASSES, Case, measure
from mmlocat.benchmark.cli import cells, measured, parse
from mmlocat.benchmark.plot import draw
from mmlocat.utils import stoppable
from mmlocat.utils.kept_rows import KeptRows
from mmlocat.utils.machine import machine
from mmlocat.utils.tables import Table

# Columns of the table and their widths in characters.
COLUMNS = {'pass': 18, 'back-end': 9, 'heads': 5, 'grid': 4, 'ms': 6, 'x plain': 7, 'quartiles': 13, 'extra MiB': 9}


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--grids', type=int, nargs='+', default=[14, 32, 64], help='patches per side')
    parser.add_argument('--heads', type=int, nargs='+', default=[3])
    parser.add_argument('--head-dims', type=int, default=64)
    parser.add_argument(
        '--backends', nargs='+', choices=available_backends(), help='default: all that can run on the device')
    parser.add_argument('--passes', nargs='+', default=list(PASSES), choices=PASSES)
    parser.add_argument('--plot', type=Path, help='draw time and memory against N to this file')
    args = parse(parser)
    for name in ('grids', 'heads', 'head_dims'):
        value = getattr(args, name)
        if min(value if isinstance(value, list) else [value]) < 1:
            parser.error(f'--{name.replace("_", "-")} takes positive numbers, got {value}')
    if args.plot and not args.plot.resolve().parent.is_dir():
        parser.error(f'--plot {args.plot}: the folder {args.plot.resolve().parent} does not exist')
    return args


def main() -> int:
    """Measures case by case and prints each case's rows when it is done; an interrupted run keeps them and the plot."""
    args = read_options()
    cases = [Case((grid, grid), heads, args.head_dims, args.dtype, args.device)
             for heads in args.heads for grid in args.grids]
    title = f'{args.dtype}, heads of {args.head_dims}, batch 1, one prefix token. {machine(args.device)}'
    table, results = Table(COLUMNS, title, words=2), []
    turns = [(passes, case) for passes in args.passes for case in cases]
    options = dict(backends=args.backends, seconds=args.seconds, memory=not args.no_memory)
    try:
        with KeptRows(args.work_dir / 'attention.json', args.device) as kept:
            for result in measured(kept, turns, lambda turn: f'{turn[0]}, {turn[1].heads} heads, N {turn[1].tokens}',
                                   options, lambda turn: measure(turn[1], turn[0], *options.values())):
                results.append(result)
                table.print_row(*cells(result, result.case.heads, result.case.grid[0]), markdown=args.markdown,
                                widths=COLUMNS.values())
    except (RuntimeError, ValueError, OSError) as error:  # a back-end that cannot run here, or differs from the oracle
        print(f'Error: {error}', file=sys.stderr)
        return 1
    finally:
        if args.plot and results:
            draw(args.plot, results, max(result.case.heads for result in results))
    return 0


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
