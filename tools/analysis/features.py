#!/usr/bin/env python
"""Frozen features of every block: similarity, effective rank, attention distance, linear probe, k-NN accuracy."""

import argparse

from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import add_trust_option, stoppable
from mmlocat.visualization.demo_models import DEMO_WORK_DIR
from mmlocat.visualization.features_job import features_job


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', nargs='?', help="folder of images (default: DigitScenes' test scenes)")
    parser.add_argument('--masks', help='folder of label maps, NAME.png an image, 255 is ignored (default: no probes)')
    parser.add_argument('--train-images', help='images that probes learn from (default: every second one of IMAGES)')
    parser.add_argument('--train-masks', help='their label maps')
    parser.add_argument('--model', nargs=3, action='append', metavar=('TITLE', 'CONFIG', 'CHECKPOINT'),
                        help='a model; may be repeated, those of one title are averaged (default: the demo models)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='of the demo models (default: 0)')
    parser.add_argument('--demo-dir', default=str(DEMO_WORK_DIR), help="the demo's work dir (default: %(default)s)")
    parser.add_argument('--data-root', help='where DigitScenes lies or is made (default: the cache folder)')
    parser.add_argument('--out', default='work_dirs/features', help='folder for figure and CSV (default: %(default)s)')
    parser.add_argument('--max-images', type=int, default=500, help='of each folder (default: %(default)s)')
    parser.add_argument('--max-patches', type=int, default=10000,
                        help='labelled patches to learn from, and to test on (default: %(default)s)')
    parser.add_argument('--max-side', type=int, metavar='PX',
                        help="longer images are shrunk to this (default: three times pretraining's side)")
    parser.add_argument('--seed', type=int, default=0, help='of drawing patches (default: %(default)s)')
    parser.add_argument('--device', default='cpu')
    add_trust_option(parser)
    parser.add_argument('--markdown', action='store_true', help='print a Markdown table')
    args = parser.parse_args()
    for name in ('max_images', 'max_patches', 'max_side'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, got {value}')
    return args


if __name__ == '__main__':
    with stoppable():
        options = read_options()
        prepare_or_exit(lambda: features_job(options))()
