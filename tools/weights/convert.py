#!/usr/bin/env python
"""Writes weights of any ViT, Jumbo or Swin in another layout; what is in doubt is an error and leaves no file."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from mmlocat.deploy import LAYOUTS
from mmlocat.utils import add_trust_option, stoppable

if TYPE_CHECKING:  # imported once the options are right
    from mmlocat.deploy.convert import Conversion


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='file, folder of a hub snapshot, hf://OWNER/REPO, timm://NAME or a web address')
    parser.add_argument('target', help='.safetensors or .pth file; for --to hub a new folder')
    parser.add_argument('--to', required=True, choices=LAYOUTS, dest='layout', help='the layout')
    parser.add_argument('--verify', action='store_true', help='run source and result on the same images')
    parser.add_argument('--backbone-only', action='store_true', help='leave heads out')
    parser.add_argument('--num-heads', type=int, help='attention heads, where the weights do not show them')
    parser.add_argument(
        '--ref-grid', type=int, nargs=2, metavar=('H', 'W'), help='pretraining grid, where the weights do not show it')
    parser.add_argument('--without-prr', action='store_true', help='for --to hub: the model has no PRR')
    add_trust_option(parser)
    return parser.parse_args()


def report(target: str, result: Conversion) -> None:
    """Prints what was converted, and the result of the comparison."""
    arch, source = result.arguments['arch'], result.source
    print(f'{source.source} ({source.format} names, {source.container}) -> {target}: {len(result.backbone)} tensors of '
          f'the backbone, {len(result.heads)} of heads')
    count = arch['depths'] if 'depths' in arch else arch['num_layers']
    grid = f'{"windows of" if result.kind == "LocAtSwin" else "pretraining grid"} {result.grid}'
    print(f'{result.kind}: {count} blocks of {arch["embed_dims"]} channels, {arch["num_heads"]} heads, GAug: '
          f'{"yes" if result.arguments["gaug"] else "no"}, {grid}')
    if result.difference:
        print(f'{result.difference.reader} differs by at most {result.difference.largest:.2g} (largest output '
              f'{result.difference.scale:.3g})')


def main() -> int:
    """Converts the weights; returns 1 if the result is in doubt."""
    args = read_options()
    from mmlocat.deploy.convert import convert
    try:
        result = convert(args.source, args.target, args.layout, trust_pickle=args.trust_pickle,
                         backbone_only=args.backbone_only, num_heads=args.num_heads,
                         ref_grid=tuple(args.ref_grid) if args.ref_grid else None, prr=not args.without_prr,
                         verify=args.verify)
    except (RuntimeError, ValueError, ImportError, OSError) as error:
        print(f'Error: {error}', file=sys.stderr)
        return 1
    report(args.target, result)
    return 0


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
