#!/usr/bin/env python
"""Times GAug in the windows of LocAtSwin beside the plain Swin's window attention, by stage, in turns in one run."""

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
    parser.add_argument('--arch', default='tiny', choices=['tiny', 'base'])
    parser.add_argument('--img-size', type=int, default=224, help='in px (default: 224)')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--seconds', type=float, default=5, help='time for the turns of one stage (default: 5)')
    args = parse_common(parser)
    from mmlocat.benchmark.windows import measure
    title = f'Window attention with projections, forward, Swin-{args.arch}, {args.img_size} px, batch {args.batch}. '
    table = Table(['', 'blocks', 'plain ms', 'GAug ms', 'x plain', 'quartiles'], title + machine(args.device))
    with KeptRows(args.work_dir / 'windows.json', args.device) as kept:
        for stage in measure(args.arch, args.img_size, args.batch, args.device, args.seconds, kept.call):
            times = stage.gaug
            table.print_row(stage.name, stage.blocks, f'{stage.plain * 1e3:.1f}', f'{times.seconds * 1e3:.1f}',
                            f'{times.ratio:.2f}', f'{times.low:.2f} - {times.high:.2f}', markdown=args.markdown,
                            widths=[10, 6, 8, 7, 7, 11])


if __name__ == '__main__':
    with stoppable():
        prepare_or_exit(main)
