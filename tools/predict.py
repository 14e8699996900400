#!/usr/bin/env python
"""Names what is in your pictures, by a classifier or a segmentor, and draws it.

    mmlocat predict photo.jpg folder --model locatvit_imagenet
    mmlocat predict photo.jpg --model my_configs/streets.py --checkpoint work_dirs/streets/iter_4000.pth

A classifier names the five most likely classes with their probabilities, a segmentor each class that it finds with its
share of the area. Videos and cameras are for demo/image_demo.py.
"""

import argparse
import sys

from mmlocat.utils import add_trust_option, open_screen, stoppable
from mmlocat.utils.arguments import complete_config


def read_options(argv=None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pictures', nargs='+', metavar='PICTURES', help='images, folders and quoted patterns')
    parser.add_argument('--model', '--config', required=True, metavar='CONFIG', help='config file, of MMPretrain or '
                        'MMSegmentation, or the name of a shipped one').completer = complete_config
    parser.add_argument('--checkpoint', metavar='FILE', help='its weights: a file, a folder, hf://... (default: those '
                        'published for a shipped config)')
    parser.add_argument('--out-dir', default='work_dirs/predict', help='folder for pictures (default: %(default)s)')
    parser.add_argument('--device', help="such as 'cpu' or 'cuda:0' (default: the best there is)")
    add_trust_option(parser)
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Looks at every picture; the exit code is 1 if one could not be read."""
    args = read_options(argv)
    open_screen()
    from mmlocat.training.cli import prepare_or_exit
    from mmlocat.visualization.predict import predict_job
    return min(1, prepare_or_exit(lambda: predict_job(args))())


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
