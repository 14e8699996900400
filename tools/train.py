#!/usr/bin/env python
"""Trains a config of MMPretrain or MMSegmentation: ``python tools/train.py CONFIG [...]``.

The options are those of the libraries' own tools. Every training is run by ``mmlocat.training.CheckedRunner``, which
looks at its input first; what it looks at is listed in ``mmlocat/training/checks.py``.
"""

import argparse

from mmlocat.utils import open_screen, stoppable
from mmlocat.utils.arguments import add_job_arguments


def parse_args(argv=None):
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Train a classifier (MMPretrain) or a segmentor (MMSegmentation).')
    add_job_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from CHECKPOINT, or from the latest in the work dir')
    parser.add_argument('--amp', action='store_true', help='mixed precision; optim_wrapper.dtype names the dtype')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help="scale the learning rate by total batch / the recipe's")
    parser.add_argument('--no-validate', action='store_true', help='train without validation')
    parser.add_argument(
        '--allow-random-backbone', action='store_true',
        help='let a frozen backbone keep random weights (checks.allow_random_backbone=True)')
    parser.add_argument(
        '--no-data-check', action='store_true',
        help='do not look at the data first, see tools/data/check.py (checks.data=False)')
    parser.add_argument(
        '--dry-run', action='store_true',
        help='check everything, show what would be done, and train nothing (checks.dry_run=True)')
    return parser.parse_args(argv)


def merge_args(config, args):
    """Merges the options into the config."""
    from mmlocat.training.amp import enable_amp
    if args.amp:
        enable_amp(config)
    if args.no_validate:
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
    if args.auto_scale_lr:
        config.merge_from_dict({'auto_scale_lr.enable': True})
    if args.allow_random_backbone:
        config.merge_from_dict({'checks.allow_random_backbone': True})
    if args.no_data_check:
        config.merge_from_dict({'checks.data': False})
    if args.dry_run:
        config.merge_from_dict({'checks.dry_run': True})
    if args.resume:
        config.resume = True
        config.load_from = None if args.resume == 'auto' else args.resume


def training_job(argv=None):
    """Prepares a training; errors in the input are raised here, before the first iteration.

    Args:
        argv: The command line; that of the process by default.

    Returns:
        A function that trains: the Runner's ``train``.
    """
    from mmlocat.training import runner_class
    from mmlocat.training.cli import read_config
    args = parse_args(argv)
    config = read_config(args)
    merge_args(config, args)
    runner = runner_class(config).from_cfg(config, 'train')
    runner.prepare_training()
    return runner.train


if __name__ == '__main__':
    with stoppable():  # here too, because the imports take seconds
        parse_args()  # a wrong option is refused before that
        open_screen()
        from mmlocat.training.cli import run_job
        run_job(training_job)
