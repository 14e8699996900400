#!/usr/bin/env python
"""Exports a trained classifier, segmentor or backbone to ONNX, for any batch, height and width, and checks it."""

import argparse

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.config import load_config
from mmlocat.deploy.export import Export, export_onnx
from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import add_trust_option, stoppable
from mmlocat.utils.arguments import add_config_arguments
from mmlocat.utils.tables import Table, console


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='trained weights: a file, a folder, hf://...; see docs/weights.md')
    parser.add_argument('output', help='file to write, ending in .onnx')
    parser.add_argument('--part', choices=['model', 'backbone'], default='model',
                        help='model: logits; backbone: features of out_indices (default: model)')
    parser.add_argument('--no-check', action='store_true', help='do not compare with PyTorch by onnxruntime')
    add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    """Exports one model."""
    args = read_options()
    screen = console(stderr=True)

    def export() -> Export:
        config = load_config(args.config, args.cfg_options)
        with screen.status('exporting'):
            return export_onnx(config, args.checkpoint, args.output, part=args.part, check=not args.no_check,
                               trust_pickle=args.trust_pickle)

    result = prepare_or_exit(export)
    if result.differences:
        table = Table(('images', 'largest difference', 'largest output'),
                      'onnxruntime against PyTorch, at sizes not seen at export')
        for found in result.differences:
            table.add(' x '.join(map(str, found.shape)), f'{found.largest:.2g}', f'{found.scale:.3g}')
        table.print()
    print(f'{result.path}: {result.task}, {result.path.stat().st_size / 1e6:.1f} MB, outputs '
          f'{", ".join(result.outputs)}; ' + (f'largest difference {max(d.largest for d in result.differences):.2g}'
                                              if result.differences else 'not checked'))


if __name__ == '__main__':
    with stoppable():
        main()
