"""The command lines of tools/train.py and tools/test.py, for both scopes."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from pathlib import Path
from typing import Callable, List, Optional

import torch
from mmengine.config import Config
from mmengine.evaluator import DumpResults

from mmlocat.checkpoints.schemes import install_reader
from mmlocat.config import add_config_arguments, load_config
from mmlocat.utils import add_trust_option, atomic_write, stoppable

from .amp import set_amp
from .config_types import check_types
from .config_values import check_values
from .failures import log_file, report_failure
from .hardware import is_main_process, world_size
from .initial_weights import check_initial_weights, check_model_weights, initial_checkpoint, set_initial_checkpoint
from .interrupt import TrainingStopped, make_resumable
from .provenance import record_test, record_training
from .recipe import check_total_batch
from .resume import apply_resume
from .runner import build_optimizer, build_runner, build_test_data, build_training_data
from .training_data import check_training_data


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    add_config_arguments(parser)
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG)')
    add_trust_option(parser)
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
    parser.add_argument('--amp', action='store_true', help='mixed precision; optim_wrapper.dtype names the dtype')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help="scale the learning rate by total batch / the recipe's")
    parser.add_argument('--no-validate', action='store_true', help='train without validation')
    parser.add_argument(
        '--allow-random-backbone', action='store_true', help='let a frozen backbone keep random weights')
    parser.add_argument(
        '--no-data-check', action='store_true', help='do not look at the data first (see tools/data/check.py)')
    return parser


def _test_parser() -> argparse.ArgumentParser:
    parser = _parser('Test a classifier (MMPretrain) or a segmentor (MMSegmentation).')
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
    return parser


def _prepare(args: argparse.Namespace, *loaders: str) -> Config:
    """Reads the config, checks the parts that ``loaders`` use, and applies what both tools share."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.launcher == 'pytorch' and 'RANK' not in os.environ:
        raise RuntimeError('--launcher pytorch needs torchrun: use tools/dist_train.sh CONFIG GPUS or '
                           'tools/dist_test.sh CONFIG CHECKPOINT GPUS')
    config = load_config(args.config, args.cfg_options)
    if 'amp' in args:
        set_amp(config, args.amp)
    check_types(config, loaders)
    check_values(config)
    config.launcher = args.launcher
    install_reader(args.trust_pickle)
    if args.work_dir:
        config.work_dir = args.work_dir
    elif config.get('work_dir') is None:
        config.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    if Path(config.work_dir).exists() and not Path(config.work_dir).is_dir():
        raise ValueError(f'--work-dir {config.work_dir} is a file; it names a folder')
    return config


def training_job(argv: Optional[List[str]] = None) -> Callable[[], object]:
    """Prepares a training; whatever can be wrong with the input is found here, before the first iteration.

    Args:
        argv: The arguments of ``tools/train.py``; those of the process by default.

    Returns:
        A function that trains.

    Raises:
        FileNotFoundError: The config or the initial weights do not exist.
        RuntimeError: A frozen backbone without weights, data that are missing or damaged, or another training in the
            work dir.
        ValueError: The config is invalid.
    """
    args = _train_parser().parse_args(argv)
    config = _prepare(args, 'train', *([] if args.no_validate else ['val']))
    if args.no_validate:
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
    if args.auto_scale_lr:
        config.merge_from_dict({'auto_scale_lr.enable': True})
    remarks = check_total_batch(config, world_size(args.launcher))
    set_initial_checkpoint(config, args.cfg_options)
    resumption = apply_resume(config, args.resume, world_size(args.launcher))
    resumed = resumption.checkpoint
    remarks += resumption.remarks
    if not resumed:
        remarks += check_initial_weights(config, args.allow_random_backbone, args.trust_pickle)
    initial = None if resumed else initial_checkpoint(config)
    if is_main_process() and not args.no_data_check:
        remarks += check_training_data(config, args.config)
    runner = build_runner(config, remarks)
    build_training_data(runner)
    build_optimizer(runner)
    make_resumable(runner, resumption.validated)
    record_training(runner, args.config, args.cfg_options, initial, resumed)
    return runner.train


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
    config = _prepare(args, 'test')
    check_model_weights(config, args.checkpoint, args.trust_pickle)
    config.load_from = args.checkpoint
    (config.model.get('backbone') or {}).pop('init_cfg', None)  # the checkpoint holds the backbone
    segments = config.get('default_scope') == 'mmseg'
    if args.show or args.show_dir:
        _show_predictions(config, args, segments)
    if args.tta:
        if 'tta_model' not in config or 'tta_pipeline' not in config:
            raise ValueError(f'{args.config} has no tta_model and tta_pipeline, which --tta needs')
        config.test_dataloader.dataset.pipeline = config.tta_pipeline
        config.model = dict(**config.tta_model, module=config.model)
    item = args.out_item or ('metrics' if (args.out or '').endswith('.json') else 'pred')
    suffixes = dict(metrics=('.json', ), pred=('', ) if segments else ('.pkl', '.pickle'))[item]
    if args.out and not args.out.endswith(suffixes):
        raise ValueError(f'--out {args.out} must end in {" or ".join(suffixes)} for {item}')
    if args.out and Path(args.out).is_dir() and not (segments and item == 'pred'):
        raise ValueError(f'--out {args.out} is a folder; for {item} it names a file')
    if args.out and segments and item == 'pred':
        _save_label_maps(config, args.out)
    runner = build_runner(config, [], training=False)
    build_test_data(runner)
    record_test(runner, args.config, args.cfg_options, args.checkpoint, args.tta)
    if args.out and not segments and item == 'pred':
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))

    def test() -> dict:
        metrics = runner.test()
        if args.out and item == 'metrics' and is_main_process():
            with atomic_write(args.out) as file:
                json.dump(metrics, file, indent=2, default=float)
        return metrics

    return test


def _save_label_maps(config: Config, folder: str) -> None:
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f'--out {folder} is a file; for segmentation it names the folder for predicted label maps')
    Path(folder).mkdir(parents=True, exist_ok=True)  # mmseg lets the first process alone make it
    evaluators = config.test_evaluator if isinstance(config.test_evaluator, (list, tuple)) else [config.test_evaluator]
    for evaluator in evaluators:
        if evaluator.get('type') == 'IoUMetric':
            evaluator['output_dir'] = folder
            return
    raise ValueError('--out needs an IoUMetric in test_evaluator, which writes the label maps')


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

    What happens later, while the job runs, goes into its log, see ``run_job``.

    Args:
        prepare: ``training_job`` or ``test_job``.

    Returns:
        What ``prepare`` returns.
    """
    try:
        return prepare()
    except Exception as error:
        if os.environ.get('MMLOCAT_TRACEBACK'):
            raise
        # One voice a machine: what is wrong may be wrong on this one alone.
        if int(os.environ.get('LOCAL_RANK', 0)) == 0:
            # A KeyError prints its key alone, in quotes.
            message = f'{type(error).__name__}: {error}' if isinstance(error, LookupError) or not str(error) else error
            print(f'Error: {message}\n(MMLOCAT_TRACEBACK=1 shows where it was raised.)', file=sys.stderr)
        sys.exit(1)


def run_job(prepare: Callable[[], Callable]) -> None:
    """Prepares a job and runs it; the tools' ``main``.

    Ctrl-C ends it with one line and exit code 130. An error while it runs goes into its log, traceback included; the
    last line on stderr names the log, and the exit code is 1.

    Args:
        prepare: ``training_job`` or ``test_job``.
    """
    code: Optional[int] = None
    with stoppable(lambda: f'The log: {log_file()}' if log_file() else ''):
        job = prepare_or_exit(prepare)
        try:
            job()
        except TrainingStopped as stopped:
            code = stopped.code
        except Exception as error:
            report_failure(error)
            sys.exit(1)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # The models' references first. A group of gloo that outlives the interpreter has aborted a process which was
        # done ("terminate called without an active exception"), and with it the launch.
        del job
        gc.collect()
        torch.distributed.destroy_process_group()
    if code is not None:
        sys.exit(code)
