#!/usr/bin/env python
"""Writes an int8 ONNX file of a trained model, and tests it beside the float32 one on the config's test data."""

import argparse
from typing import List

from rich.console import Console
from rich.table import Table

from mmlocat.config import add_config_arguments, load_config
from mmlocat.deploy.quantise import Variant, quantise
from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import add_trust_option, stoppable


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint of the whole model')
    parser.add_argument('output', help='file to write, ending in .onnx')
    parser.add_argument('--pixels', action='store_true',
                        help='take RGB values from 0 to 255, and normalise in the graph; with --no-test')
    parser.add_argument('--no-test', action='store_true', help='do not measure on the test data')
    add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    """Quantises one model."""
    args = read_options()
    console = Console(stderr=True)

    def run() -> List[Variant]:
        config = load_config(args.config, args.cfg_options)
        return quantise(config, args.checkpoint, args.output, pixels=args.pixels, evaluate=not args.no_test,
                        trust_pickle=args.trust_pickle, report=lambda text: console.print(f'{text} ...'))

    variants = prepare_or_exit(run)
    metrics = list(variants[0].metrics)
    table = Table(title=args.output)
    for name in ('model', 'MB', *metrics):
        table.add_column(name, justify='left' if name == 'model' else 'right')
    for variant in variants:
        table.add_row(variant.name, f'{variant.size / 1e6:.2f}', *(f'{variant.metrics[name]:.2f}' for name in metrics))
    Console(width=120).print(table)
    if metrics:
        print('int8 against float32: ' + ', '.join(
            f'{name} {variants[2].metrics[name] - variants[0].metrics[name]:+.2f}' for name in metrics))


if __name__ == '__main__':
    with stoppable():
        main()
