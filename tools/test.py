#!/usr/bin/env python
"""Tests a checkpoint with MMPretrain or MMSegmentation: ``python tools/test.py CONFIG CHECKPOINT [...]``."""

import argparse
import json
from pathlib import Path

from mmlocat.utils import atomic_write, check_folder, open_screen, stoppable
from mmlocat.utils.arguments import add_job_arguments


def parse_args(argv=None):
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Test a classifier (MMPretrain) or a segmentor (MMSegmentation).')
    add_job_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out',
        help='.json: file for the metrics; else segmentation: folder for predicted label maps, '
        'classification: .pkl file for predictions')
    parser.add_argument('--out-item', choices=['pred', 'metrics'], help='what --out FILE holds (default: by suffix)')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='folder for painted images')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds a shown picture stays')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation, from tta_model and tta_pipeline')
    return parser.parse_args(argv)


def merge_args(config, args, maps):
    """Merges the options into the config; ``maps`` says whether to write label maps."""
    segments = config.get('default_scope') == 'mmseg'
    config.load_from, config.resume = args.checkpoint, False
    if args.show or args.show_dir:
        hook = (config.get('default_hooks') or {}).get('visualization')
        if hook is None:
            raise ValueError(f'{args.config} has no default_hooks.visualization, which --show and --show-dir need')
        hook.update({'draw' if segments else 'enable': True, 'show': args.show, 'wait_time': args.wait_time})
        if args.show_dir and segments:
            config.visualizer.save_dir = args.show_dir
        elif args.show_dir:
            hook.out_dir = args.show_dir
    if args.tta:
        if 'tta_model' not in config or 'tta_pipeline' not in config:
            raise ValueError(f'{args.config} has no tta_model and tta_pipeline, which --tta needs')
        config.test_dataloader.dataset.pipeline = config.tta_pipeline
        config.model = dict(**config.tta_model, module=config.model)
    if maps:
        from mmengine.registry import METRICS
        from mmseg.evaluation import IoUMetric

        from mmlocat.config import is_kind
        evaluators = config.get('test_evaluator') or []
        evaluators = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
        writing = [evaluator for evaluator in evaluators if is_kind(evaluator, IoUMetric, METRICS, 'mmseg')]
        if not writing:
            raise ValueError('--out needs an IoUMetric in test_evaluator, which writes the label maps')
        writing[0]['output_dir'] = args.out


def output_item(args, segments):
    """Returns what to write to ``--out``, 'pred' or 'metrics', after checking that its name suits it."""
    item = args.out_item or ('metrics' if (args.out or '').endswith('.json') else 'pred')
    suffixes = dict(metrics=('.json', ), pred=('', ) if segments else ('.pkl', '.pickle'))[item]
    folder = segments and item == 'pred'
    if args.out and not args.out.endswith(suffixes):
        raise ValueError(f'--out {args.out} must end in {" or ".join(suffixes)} for {item}')
    for option, written in (('--out', args.out if folder else args.out and Path(args.out).parent),
                            ('--show-dir', args.show_dir)):
        if written:
            check_folder(option, written)
    if args.out and Path(args.out).is_dir() and not folder:
        raise ValueError(f'--out {args.out} is a folder; for {item} it names a file')
    return item


def test_job(argv=None):
    """Prepares a test; errors in the input are raised here.

    Args:
        argv: The command line; that of the process by default.

    Returns:
        A function that tests and returns the metrics.
    """
    from mmengine.evaluator import DumpResults

    from mmlocat.training import runner_class
    from mmlocat.training.cli import read_config
    args = parse_args(argv)
    config = read_config(args)
    segments = config.get('default_scope') == 'mmseg'
    item = output_item(args, segments)
    maps = bool(args.out) and segments and item == 'pred'
    merge_args(config, args, maps)
    runner = runner_class(config).from_cfg(config, 'test')
    runner.prepare_test()
    if maps:
        Path(args.out).mkdir(parents=True, exist_ok=True)  # mmseg creates it only in the first process
    elif args.out and item == 'pred':
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))

    def test():
        metrics = runner.test()
        if args.out and item == 'metrics' and runner.rank == 0:
            with atomic_write(args.out) as file:
                json.dump(metrics, file, indent=2, default=float)
        return metrics

    return test


if __name__ == '__main__':
    with stoppable():  # here too, because the imports take seconds
        parse_args()  # a wrong option is refused before that
        open_screen()
        from mmlocat.training.cli import run_job
        run_job(test_job)
