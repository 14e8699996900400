#!/usr/bin/env python
"""What every block and head of a ViT looks at in an image: Gaussians, attention without and with GAug, PRR."""

import argparse

from mmlocat.experiments.trained import demo_arms
from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import add_trust_option, stoppable
from mmlocat.visualization.attention_job import attention_job, grid_side, point
from mmlocat.visualization.demo_models import DEMO_WORK_DIR
from mmlocat.visualization.style import FORMATS


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('image', help='image file')
    parser.add_argument('--config', help='config of a LocAtViT or a plain ViT, MMPretrain or MMSegmentation')
    parser.add_argument('--checkpoint', help='its weights (default: the classifier that `make demo` trains)')
    parser.add_argument('--at', type=point, nargs='+', action='extend', default=[], metavar='X,Y',
                        help='query patches, by a pixel of the image file in each')
    parser.add_argument('--grid', type=grid_side, metavar='N',
                        help='N x N query patches evenly over the image (default: the middle one, without --at)')
    parser.add_argument('--out', default='work_dirs/attention_maps', help='folder for pages and data')
    parser.add_argument('--format', choices=FORMATS, default='png', help='a PNG a page, or one PDF (default: png)')
    parser.add_argument('--max-side', type=int, metavar='PX',
                        help="longer images are shrunk to this (default: three times pretraining's side)")
    parser.add_argument('--arm', choices=demo_arms('pretrain'), default='locatvit',
                        help='which of the demo models, without --config (default: locatvit)')
    parser.add_argument('--demo-dir', default=str(DEMO_WORK_DIR), help="the demo's work dir (default: %(default)s)")
    parser.add_argument('--device', default='cpu')
    add_trust_option(parser)
    args = parser.parse_args()
    if args.max_side is not None and args.max_side < 1:
        parser.error(f'--max-side must be at least 1 px, got {args.max_side}')
    return args


if __name__ == '__main__':
    with stoppable():
        options = read_options()
        prepare_or_exit(lambda: attention_job(options))()
