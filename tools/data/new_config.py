#!/usr/bin/env python
"""Looks at a folder of your images and labels, says what it found, and writes a config that trains on it."""

import argparse
import sys

from mmlocat.utils import stoppable


def read_options(argv=None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', help='folder: images/ and labels/ (perhaps train and val in each), or a folder a class')
    parser.add_argument('--task', choices=['seg', 'cls'], help='segmentation or classification (default: what fits)')
    parser.add_argument('--base', help='name of a shipped config, or a file, to build on (default: '
                                       'locatvit_upernet_ade20k or locatvit-tiny_imagenet)')
    parser.add_argument('--out', metavar='FILE', help='the config to write (default: my_configs/NAME.py)')
    parser.add_argument('--images', default='', metavar='FOLDER', help='folder of the images, below the data')
    parser.add_argument('--labels', default='', metavar='FOLDER', help='folder of the label maps, below the data')
    parser.add_argument('--zero-is-unlabelled', action='store_true', help='0, or black, in label maps is no class')
    parser.add_argument('--convert', metavar='FOLDER', help='write label maps of class numbers there, and use them: '
                                                            'for colours, 16 bits, 0 and 255, numbers with gaps')
    parser.add_argument('--crop', type=int, metavar='PIXELS', help='side of the training crop')
    parser.add_argument('--length', type=int, metavar='N', help='iterations (classification: epochs) of the training')
    parser.add_argument('--workers', type=int, default=4, metavar='N', help='loading processes (default: %(default)s)')
    parser.add_argument('--sample', type=int, default=2000, metavar='N',
                        help='open N files of all (default: %(default)s; 0: all)')
    parser.add_argument('--force', action='store_true', help='replace files that are there')
    args = parser.parse_args(argv)
    for name, least in (('crop', 1), ('length', 1), ('workers', 0), ('sample', 0)):
        if getattr(args, name) is not None and getattr(args, name) < least:
            parser.error(f'--{name} must be at least {least}, got {getattr(args, name)}')
    return args


def main(argv=None) -> int:
    """Looks, writes and prints; returns the exit code."""
    args = read_options(argv)
    from mmlocat.datasets.own import make_config
    from mmlocat.training.cli import prepare_or_exit
    prepare_or_exit(lambda: make_config(
        args.data, args.out, task=args.task, base=args.base, images=args.images, labels=args.labels,
        zero_is_unlabelled=args.zero_is_unlabelled, converted=args.convert, crop=args.crop, length=args.length,
        workers=args.workers, count=args.sample or None, force=args.force, progress=sys.stderr.isatty()))
    return 0


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
