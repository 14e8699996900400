#!/usr/bin/env python
"""Frozen features of every block: similarity, effective rank, attention distance, linear probe, k-NN accuracy."""

import argparse
from typing import List, Union

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.experiments.demo_models import DemoModel, demo_model
from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import stoppable
from mmlocat.utils.arguments import add_analysis_options, parse_model_options
from mmlocat.visualization.arguments import ModelFiles
from mmlocat.visualization.features import features_job


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', nargs='?', help="folder of images (default: DigitScenes' test scenes)")
    parser.add_argument('--masks', help='folder of label maps, NAME.png an image, 255 is ignored; probes learn from '
                        'every second image (default: no probes)')
    parser.add_argument('--model', nargs=3, action='append', metavar=('TITLE', 'CONFIG', 'CHECKPOINT'),
                        help='a model; may be repeated, those of one title are averaged (default: the demo models)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='of the demo models (default: 0)')
    parser.add_argument('--data-root', help='where DigitScenes lies or is made (default: the cache folder)')
    parser.add_argument('--max-images', type=int, default=500, help='of each folder (default: %(default)s)')
    add_analysis_options(parser, 'work_dirs/features')
    return parse_model_options(parser, positive=('max_images', ))


def chosen_models(args: argparse.Namespace) -> List[Union[ModelFiles, DemoModel]]:
    """Returns the models that the options name, or the demo's ViT and LocAtViT of all seeds."""
    if args.model:
        return [ModelFiles(*model) for model in args.model]
    return [demo_model(arm, 'pretrain', args.demo_dir, seed)
            for arm in ('vit', 'locatvit') for seed in args.seeds]


if __name__ == '__main__':
    with stoppable():
        options = read_options()
        prepare_or_exit(lambda: features_job(options, chosen_models(options)))()
