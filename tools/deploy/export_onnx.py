#!/usr/bin/env python
"""Exports a trained classifier, segmentor or backbone to ONNX, for any batch, height and width, and checks it."""

import argparse

from mmlocat.config import add_config_arguments, load_config
from mmlocat.deploy.export import OPSET, Export, export_onnx
from mmlocat.deploy.runtime import TOLERANCE
from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import add_trust_option, stoppable
from mmlocat.utils.tables import Table, console


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='trained weights: a file, a folder, hf://...; see docs/weights.md')
    parser.add_argument('output', help='file to write, ending in .onnx')
    parser.add_argument('--part', choices=['model', 'backbone'], default='model',
                        help='model: logits; backbone: features of out_indices (default: model)')
    parser.add_argument('--pixels', action='store_true', help='take RGB values from 0 to 255, normalised in the graph')
    parser.add_argument('--opset', type=int, default=OPSET, help=f"version of ONNX's operators (default: {OPSET})")
    parser.add_argument('--tolerance', type=float, default=TOLERANCE,
                        help=f'allowed difference, of the largest output or 1 (default: {TOLERANCE:g})')
    parser.add_argument('--no-check', action='store_true', help='do not compare with PyTorch by onnxruntime')
    add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    """Exports one model."""
    args = read_options()
    screen = console(stderr=True)

    def export() -> Export:
        config = load_config(args.config, args.cfg_options)
        with screen.status('reading the checkpoint') as status:
            return export_onnx(
                config, args.checkpoint, args.output, part=args.part, pixels=args.pixels, check=not args.no_check,
                tolerance=args.tolerance, opset=args.opset, trust_pickle=args.trust_pickle, report=status.update)

    result = prepare_or_exit(export)
    for remark in result.remarks:
        screen.print(f'Note: {remark}.')
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
