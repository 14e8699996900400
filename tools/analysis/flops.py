#!/usr/bin/env python
"""Parameters and multiply-accumulates of a config's model, attention and the Gaussian bias included."""

import argparse
import sys

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.analysis.flops import count
from mmlocat.config import load_config
from mmlocat.models.building import input_shape
from mmlocat.utils import stoppable
from mmlocat.utils.arguments import add_config_arguments
from mmlocat.utils.tables import Table


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('--shape', type=int, nargs='+', metavar='PX',
                        help='height and width in px, or one number for both (default: the training crop)')
    parser.add_argument('--batch', type=int, default=1, help='images in the pass (default: 1)')
    parser.add_argument('--depth', type=int, default=2, help='levels of modules in the table (default: 2)')
    args = parser.parse_args()
    if args.shape and len(args.shape) > 2:
        parser.error(f'--shape takes HEIGHT WIDTH or one number for both, got {args.shape}')
    return args


def main() -> int:
    """Counts one forward pass and prints a table by module."""
    args = read_options()
    try:
        config = load_config(args.config, args.cfg_options)
        shape = tuple(args.shape or input_shape(config))
        shape = shape if len(shape) == 2 else shape * 2
        cost = count(config, shape, args.batch)
    except (OSError, ValueError, RuntimeError) as error:
        print(f'Error: {error}', file=sys.stderr)
        return 1
    table = Table(('module', 'class', 'parameters', 'MACs', 'share'),
                  f'{args.config}, {args.batch} x {shape[0]} x {shape[1]} px', words=2)
    for module in cost.modules:
        level = module.name.count('.') + 1 if module.name else 0
        if level <= args.depth and (module.parameters or module.macs):
            share = f'{module.macs / cost.macs:.1%}' if cost.macs else ''
            name = module.name.rsplit('.', 1)[-1] or 'model'
            table.add('  ' * level + name, module.kind, f'{module.parameters:,}', f'{module.macs:,}', share)
    table.print()
    print(f'{cost.parameters:,} parameters, {cost.trainable:,} of them trained; {cost.macs / 1e9:.2f} G '
          'multiply-accumulates')
    return 0


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
