#!/usr/bin/env python
"""GAug attention by back-end beside plain attention, in turns in one run: time, memory and their ratios."""

import argparse
import sys
from pathlib import Path

from mmlocat.attention import available_backends
from mmlocat.benchmark.attention import PASSES, Case, measure
from mmlocat.benchmark.measure import machine
from mmlocat.benchmark.options import add_common_options, parse
from mmlocat.benchmark.report import draw, milliseconds, print_table
from mmlocat.utils import stoppable, with_progress

COLUMNS = ('pass', 'back-end', 'heads', 'grid', 'ms', 'x plain', 'quartiles', 'extra MiB')


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--grids', type=int, nargs='+', default=[14, 24, 32, 48, 64, 128], help='patches per side')
    parser.add_argument('--heads', type=int, nargs='+', default=[3, 6, 12])
    parser.add_argument('--head-dims', type=int, default=64)
    parser.add_argument('--backends', nargs='+', default=list(available_backends()), choices=available_backends())
    parser.add_argument('--passes', nargs='+', default=list(PASSES), choices=PASSES)
    parser.add_argument(
        '--dense-up-to', type=int, default=32, help='largest grid of dense, and of flex on a CPU (default: 32)')
    parser.add_argument(
        '--sdpa-up-to', type=int, default=64, help='largest grid of sdpa, which holds N x N masks (default: 64)')
    parser.add_argument('--plot', type=Path, help='draw time and memory against N to this file')
    add_common_options(parser, seconds=10)
    args = parse(parser)
    for name in ('grids', 'heads', 'head_dims'):
        value = getattr(args, name)
        if min(value if isinstance(value, list) else [value]) < 1:
            parser.error(f'--{name.replace("_", "-")} takes positive numbers, got {value}')
    if args.plot and not args.plot.resolve().parent.is_dir():
        parser.error(f'--plot {args.plot}: the folder {args.plot.resolve().parent} does not exist')
    return args


def main() -> int:
    """Measures case by case and prints the table."""
    args = read_options()
    cases = [Case(grid, heads, args.head_dims, args.dtype, args.device) for heads in args.heads for grid in args.grids]
    largest = {'dense': args.dense_up_to, 'sdpa': args.sdpa_up_to}
    if not args.device.startswith('cuda'):
        largest['flex'] = args.dense_up_to  # unfused
    results = []
    turns = [(passes, case) for passes in args.passes for case in cases]
    for passes, case in with_progress(turns, lambda turn: f'{turn[0]}, {turn[1].heads} heads, grid {turn[1].grid}'):
        results += measure(case, passes, args.backends, args.seconds, largest, not args.no_memory)
    rows = [(r.passes, r.name, str(r.case.heads), str(r.case.grid), milliseconds(r.time.seconds),
             f'{r.time.ratio:.2f}', f'{r.time.low:.2f} - {r.time.high:.2f}',
             '' if r.extra is None else f'{r.extra:.1f}') for r in results]
    print_table(f'{args.dtype}, heads of {args.head_dims}, batch 1, one prefix token. {machine(args.device)}', COLUMNS,
                rows, args.markdown)
    if args.plot:
        draw(args.plot, results, max(args.heads))
    return 0


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
