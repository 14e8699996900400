#!/usr/bin/env python
"""Times the exact search of k-NN and dense retrieval in a large memory, and measures the memory that it needs."""

import argparse

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.benchmark.cli import parse_common
from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import stoppable
from mmlocat.utils.kept_rows import KeptRows
from mmlocat.utils.machine import machine
from mmlocat.utils.tables import Table


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rows', type=int, default=1_000_000, help='of the memory (default: 1,000,000)')
    parser.add_argument('--queries', type=int, default=1000)
    parser.add_argument('--channels', type=int, default=384)
    parser.add_argument('--neighbours', type=int, default=30)
    parser.add_argument('--seconds', type=float, default=30, help='time for the turns (default: 30)')
    args = parse_common(parser)
    if min(args.rows, args.queries, args.channels, args.neighbours) < 1:
        parser.error('--rows, --queries, --channels and --neighbours take positive whole numbers')
    from mmlocat.benchmark.neighbours import measure
    table = Table(['search', 's', 'x whole matrix', 'extra MiB'],
                  f'{args.queries:,} queries, {args.rows:,} rows of {args.channels} channels, {args.neighbours} '
                  f'neighbours. {machine("cpu")}')
    with KeptRows(args.work_dir / 'neighbours.json') as kept:
        for search in measure(args.rows, args.queries, args.channels, args.neighbours, args.seconds, kept.call):
            extra = None if search.extra is None else f'{search.extra:,.0f}'
            table.print_row(search.name, f'{search.time.seconds:.2f}', f'{search.time.ratio:.2f}', extra,
                            markdown=args.markdown, widths=[12, 6, 14, 9])


if __name__ == '__main__':
    with stoppable():
        prepare_or_exit(main)
