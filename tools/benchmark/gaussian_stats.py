#!/usr/bin/env python
"""What GaussianStatsHook adds to a training step of a LocAtViT classifier: its own work, in turns with whole steps."""

import argparse
import sys

from mmlocat.benchmark.gaussian_stats import measure
from mmlocat.benchmark.report import milliseconds, print_table
from mmlocat.config import add_config_arguments, load_config
from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import stoppable
from mmlocat.utils.machine import machine


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('--batch', type=int, default=64, help='images a step (default: 64)')
    parser.add_argument('--interval', type=int, default=50, help="the hook's (default: 50)")
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--seconds', type=float, default=30, help='time for the turns (default: 30)')
    parser.add_argument('--markdown', action='store_true', help='print a Markdown table')
    args = parser.parse_args()
    if args.batch < 1 or args.interval < 1:
        parser.error(f'--batch and --interval must be at least 1, got {args.batch} and {args.interval}')
    return args


def main() -> int:
    """Measures and prints the table."""
    args = read_options()
    config = prepare_or_exit(lambda: load_config(args.config, args.cfg_options))
    print(f'{args.config}: a step and a record in turns, for {args.seconds:g} s', file=sys.stderr, flush=True)
    cost = prepare_or_exit(lambda: measure(config, args.batch, args.device, args.seconds, args.interval))
    record = cost.record
    rows = [('training step', '', milliseconds(cost.step.seconds), '', ''),
            ('one record', f'every {cost.interval} steps', milliseconds(record.seconds), f'{record.ratio:.2%}',
             f'{record.low:.2%} - {record.high:.2%}'),
            ('the hook, on average', 'each step', milliseconds(record.seconds / cost.interval), f'{cost.share:.3%}',
             '')]
    print_table(f'{args.config}, batch {args.batch}. {machine(args.device)}',
                ('what', 'when', 'ms', 'of a step', 'quartiles'), rows, args.markdown)
    return 0


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
