#!/usr/bin/env python
"""What every block and head of a ViT looks at in an image: Gaussians, attention without and with GAug."""

import argparse
from pathlib import Path
from typing import Tuple

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.experiments.demo_models import demo_arms, demo_model
from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import stoppable
from mmlocat.utils.arguments import add_analysis_options, parse_model_options
from mmlocat.visualization.arguments import ModelFiles
from mmlocat.visualization.attention_pages import attention_job


def point(text: str) -> Tuple[float, float]:
    """Parses a point given as ``x,y``."""
    try:
        x, y = (float(part) for part in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f'takes x,y in px of the image, such as 120,80; got {text!r}') from None
    return x, y


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('image', help='image file')
    parser.add_argument('--config', help='config of a LocAtViT, a sibling of it or a plain ViT, MMPretrain or '
                        'MMSegmentation')
    parser.add_argument('--checkpoint', help='its weights (default: the classifier that `make demo` trains)')
    parser.add_argument('--at', type=point, nargs='+', action='extend', default=[], metavar='X,Y',
                        help='query patches, by a pixel of the image file in each (default: the middle one)')
    parser.add_argument('--arm', choices=demo_arms('pretrain'), default='locatvit',
                        help='which of the demo models, without --config (default: locatvit)')
    add_analysis_options(parser, 'work_dirs/attention_maps')
    return parse_model_options(parser)


def chosen_model(args: argparse.Namespace) -> ModelFiles:
    """Returns the model that the options name, or the demo's."""
    if args.config:
        return ModelFiles(Path(args.config).stem, args.config, args.checkpoint)
    found = demo_model(args.arm, 'pretrain', args.demo_dir)
    return ModelFiles(f'{found.title} of the demo', found.config, found.checkpoint)


if __name__ == '__main__':
    with stoppable():
        options = read_options()
        prepare_or_exit(lambda: attention_job(options, lambda: chosen_model(options)))()
