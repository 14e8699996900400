#!/usr/bin/env python
"""Segments your own pictures and videos: ``python demo/image_demo.py IMAGES... --config CONFIG --checkpoint FILE``.

Without config and checkpoint it takes the models that `make demo` has trained, LocAtViT first.
"""

import argparse
import sys

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from rich.console import Console

from mmlocat.experiments.demo_models import demo_model
from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import stoppable
from mmlocat.utils.arguments import add_segmentor_options, parse_model_options
from mmlocat.visualization.arguments import load_segmentors
from mmlocat.visualization.segment import image_demo_job


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', nargs='+', metavar='IMAGES',
                        help='images, videos, folders, quoted patterns, and numbers of cameras')
    add_segmentor_options(parser)
    parser.add_argument('--out-dir', default='work_dirs/image_demo', help='default: work_dirs/image_demo')
    parser.add_argument('--frames', type=int, help='stop a video or camera after so many; Ctrl-C ends a camera')
    return parse_model_options(parser, positive=('frames', ))


def main() -> int:
    """Segments everything; the exit code is 1 if an input could not be read."""
    args = read_options()

    def load():
        return load_segmentors(args, lambda arm: demo_model(arm, work_dir=args.demo_dir))

    return min(1, prepare_or_exit(lambda: image_demo_job(args, load, Console()))())


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
