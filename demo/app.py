#!/usr/bin/env python
"""A web page for your own pictures: ``python demo/app.py``. `make app` calls it.

Drop a picture, click a patch: its Gaussians, its attention with and without them, and the segmentations of two models,
or the classes that they name. A config without a checkpoint is shown with published weights, if it has a shipped name
and there are some, else with random ones.
"""

import argparse
import sys

from mmlocat.utils import open_screen, stoppable
from mmlocat.utils.arguments import add_segmentor_options, parse_model_options


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_segmentor_options(parser)
    parser.add_argument('--samples', nargs='+', help="images to pick from (default: scenes, for the demo's models)")
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on (default: 127.0.0.1, this machine '
                        'alone; 0.0.0.0 lets everybody in who reaches it)')
    parser.add_argument('--port', type=int, help='default: the first free one from 7860 on')
    args = parse_model_options(parser, positive=('port', ), config_alone=True)
    if args.port and args.port > 65535:
        parser.error(f'--port must be at most 65535, got {args.port}')
    return args


def main() -> None:
    """Serves until Ctrl-C."""
    args = read_options()
    open_screen()
    from mmlocat.training.cli import prepare_or_exit

    def prepare():
        from mmlocat.experiments.demo_models import demo_model
        from mmlocat.visualization.arguments import load_segmentors
        from mmlocat.visualization.segmentor import load_predictor
        from mmlocat.visualization.web import app_job  # where gradio is missing, a line says so
        return app_job(args, lambda: load_segmentors(args, lambda arm: demo_model(arm, work_dir=args.demo_dir),
                                                     load_predictor))

    prepare_or_exit(prepare)()


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
