"""The command lines of tools/train.py and tools/test.py, for both scopes."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Callable, List, Optional

import mmengine
import torch
from mmengine.config import Config, DictAction
from mmengine.evaluator import DumpResults
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .config import load_config
from .hardware import adapt_to_hardware, init_cpu_processes, is_main_process, world_size
from .initial_weights import check_initial_weights, set_initial_checkpoint
from .recipe import check_total_batch


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file, of MMPretrain or MMSegmentation')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='changes to the config, such as train_dataloader.batch_size=8 or key="[a,b]"')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by older launchers')
    return parser


def _train_parser() -> argparse.ArgumentParser:
    parser = _parser('Train a classifier (MMPretrain) or a segmentor (MMSegmentation).')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from CHECKPOINT, or from the latest in the work dir')
    parser.add_argument('--amp', action='store_true', help='mixed precision (needs CUDA for now)')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help="scale the learning rate by total batch / the recipe's")
    parser.add_argument('--no-validate', action='store_true', help='train without validation')
    parser.add_argument(
        '--allow-random-backbone', action='store_true', help='let a frozen backbone keep random weights')
    return parser


def _test_parser() -> argparse.ArgumentParser:
    parser = _parser('Test a classifier (MMPretrain) or a segmentor (MMSegmentation).')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out', help='segmentation: folder for predicted label maps; classification: file (.pkl, .json) for results')
    parser.add_argument('--out-item', choices=['pred', 'metrics'], default='pred', help='what --out FILE holds')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='folder for painted images')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds a shown picture stays')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation, from tta_model and tta_pipeline')
    return parser


def _prepare(args: argparse.Namespace) -> Config:
    """Reads the config and applies what both tools share."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.launcher == 'pytorch' and 'RANK' not in os.environ:
        raise RuntimeError('--launcher pytorch needs torchrun: use tools/dist_train.sh CONFIG GPUS or '
                           'tools/dist_test.sh CONFIG CHECKPOINT GPUS')
    config = load_config(args.config, args.cfg_options)
    config.launcher = args.launcher
    if args.work_dir:
        config.work_dir = args.work_dir
    elif config.get('work_dir') is None:
        config.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    return config


def _say(remarks: List[str]) -> None:
    if is_main_process():
        for remark in remarks:
            print(f'mmlocat: {remark}', file=sys.stderr, flush=True)


def _build_runner(config: Config, remarks: List[str]) -> Runner:
    """Says the remarks before anything else, and again in the log."""
    remarks = adapt_to_hardware(config, config.launcher) + remarks
    _say(remarks)
    init_cpu_processes(config.launcher)
    runner = RUNNERS.build(config) if 'runner_type' in config else Runner.from_cfg(config)
    for remark in remarks:
        runner.logger.info(remark)
    return runner


def training_job(argv: Optional[List[str]] = None) -> Callable[[], object]:
    """Prepares a training; whatever can be wrong with the input is found here, before the first iteration.

    Args:
        argv: The arguments of ``tools/train.py``; those of the process by default.

    Returns:
        A function that trains.

    Raises:
        FileNotFoundError: The config or the initial weights do not exist.
        RuntimeError: ``--amp`` without CUDA, or a frozen backbone without weights.
        ValueError: The config is invalid.
    """
    args = _train_parser().parse_args(argv)
    config = _prepare(args)
    if args.amp:
        if not torch.cuda.is_available():
            raise RuntimeError('--amp needs CUDA for now, and there is none; leave it out to train in float32')
        config.optim_wrapper.type = 'AmpOptimWrapper'
        config.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.no_validate:
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
    if args.resume:
        config.resume = True
        config.load_from = None if args.resume == 'auto' else args.resume
    if args.auto_scale_lr:
        config.merge_from_dict({'auto_scale_lr.enable': True})
    if 'checkpoint' in (args.cfg_options or {}):
        set_initial_checkpoint(config, config.checkpoint)
    remarks = check_total_batch(config, world_size(args.launcher))
    remarks += check_initial_weights(config, args.allow_random_backbone)
    return _build_runner(config, remarks).train


def test_job(argv: Optional[List[str]] = None) -> Callable[[], dict]:
    """Prepares a test; see ``training_job``.

    Args:
        argv: The arguments of ``tools/test.py``; those of the process by default.

    Returns:
        A function that tests and returns the metrics.

    Raises:
        FileNotFoundError: The config or the checkpoint does not exist.
        ValueError: The config lacks what an option needs.
    """
    args = _test_parser().parse_args(argv)
    config = _prepare(args)
    if '://' not in args.checkpoint and not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'checkpoint {args.checkpoint} does not exist')
    config.load_from = args.checkpoint
    config.model.backbone.pop('init_cfg', None)  # the checkpoint holds the backbone
    segments = config.get('default_scope') == 'mmseg'
    if args.show or args.show_dir:
        _show_predictions(config, args, segments)
    if args.tta:
        if 'tta_model' not in config or 'tta_pipeline' not in config:
            raise ValueError(f'{args.config} has no tta_model and tta_pipeline, which --tta needs')
        config.test_dataloader.dataset.pipeline = config.tta_pipeline
        config.model = dict(**config.tta_model, module=config.model)
    if args.out and segments:
        Path(args.out).mkdir(parents=True, exist_ok=True)  # mmseg lets the first process alone make it
        config.test_evaluator.update(output_dir=args.out)
    runner = _build_runner(config, [])
    if args.out and not segments and args.out_item == 'pred':
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))

    def test() -> dict:
        metrics = runner.test()
        if args.out and not segments and args.out_item == 'metrics' and is_main_process():
            mmengine.dump(metrics, args.out)
        return metrics

    return test


def _show_predictions(config: Config, args: argparse.Namespace, segments: bool) -> None:
    hooks = config.get('default_hooks', {})
    if 'visualization' not in hooks:
        raise ValueError(f'{args.config} has no default_hooks.visualization, which --show and --show-dir need')
    hooks.visualization.update({'draw' if segments else 'enable': True, 'show': args.show, 'wait_time': args.wait_time})
    if args.show_dir:
        if segments:
            config.visualizer.save_dir = args.show_dir
        else:
            hooks.visualization.out_dir = args.show_dir


def prepare_or_exit(prepare: Callable[[], Callable]) -> Callable:
    """Prepares a job; an error a user can mend ends the process with one line and exit code 1.

    What happens later, while the job runs, keeps its traceback.

    Args:
        prepare: ``training_job`` or ``test_job``.

    Returns:
        What ``prepare`` returns.
    """
    try:
        return prepare()
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, AssertionError, ImportError) as error:
        if os.environ.get('MMLOCAT_TRACEBACK'):
            raise
        if is_main_process():
            print(f'Error: {error}\n(MMLOCAT_TRACEBACK=1 shows where it was raised.)', file=sys.stderr)
        sys.exit(1)
