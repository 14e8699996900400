#!/usr/bin/env python
"""A web page for your own pictures: ``python demo/app.py``. `make app` calls it.

Drop a picture, click a patch: its Gaussians, its attention with and without them, and two models' segmentations.
"""

import argparse
import sys

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.experiments.demo_models import DEMO_WORK_DIR, demo_model
from mmlocat.training.cli import prepare_or_exit
from mmlocat.visualization.arguments import add_segmentor_options, load_segmentors, parse


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_segmentor_options(parser, DEMO_WORK_DIR)
    parser.add_argument('--samples', nargs='+', help="images to pick from (default: scenes, for the demo's models)")
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on (default: 127.0.0.1, this machine '
                        'alone; 0.0.0.0 lets everybody in who reaches it)')
    parser.add_argument('--port', type=int, help='default: the first free one from 7860 on')
    return parse(parser, positive=('port', ))


def main() -> None:
    """Serves until Ctrl-C."""
    args = read_options()

    def prepare():
        from mmlocat.visualization.web import app_job  # where gradio is missing, a line says so
        return app_job(args, lambda: load_segmentors(args, lambda arm: demo_model(arm, work_dir=args.demo_dir)))

    prepare_or_exit(prepare)()


if __name__ == '__main__':
    sys.exit(main())
