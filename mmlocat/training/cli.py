"""Provides what ``tools/train.py`` and ``tools/test.py`` share: options, one-line errors, exit codes."""

from __future__ import annotations

import argparse
import logging
import os
import runpy
import sys
from pathlib import Path
from typing import Callable, List, Optional

from mmengine.config import Config
from mmengine.logging import MMLogger

from mmlocat.config import load_config
from mmlocat.utils import share_folder, stoppable

from .hardware import leave_processes
from .initial_weights import inner_model
from .interrupt import TrainingStopped
from .nonfinite import NonFiniteError
from .saving import CheckpointNotSaved

# Errors whose messages say what happened and what to do, so that they are logged without a traceback.
_SPEAK_FOR_THEMSELVES = (CheckpointNotSaved, NonFiniteError)


def read_config(args: argparse.Namespace) -> Config:
    """Reads the config of a job by ``load_config``, and applies the options that ``add_job_arguments`` added.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: It cannot be read, or an option does not fit it.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = load_config(args.config, args.cfg_options)
    config.launcher = args.launcher
    if args.trust_pickle:
        config.merge_from_dict({'checks.trust_pickle': True})
    if args.adapt_channels:
        inner_model(config).setdefault('backbone', {})['adapt_channels'] = True
    if args.work_dir:
        config.work_dir = args.work_dir
    elif config.get('work_dir') is None:
        config.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    return config


def prepare_or_exit(prepare: Callable[[], Callable]) -> Callable:
    """Returns what ``prepare`` returns, a job as a function; an error ends the process with one line and exit code 1.

    Errors while the job runs are handled by ``run_job`` and go into its log.
    """
    try:
        return prepare()
    except Exception as error:
        if os.environ.get('MMLOCAT_TRACEBACK'):
            raise
        # One process per machine prints the error, since a fault may concern this machine only.
        if int(os.environ.get('LOCAL_RANK', 0)) == 0:
            # The message of a KeyError is only its key, in quotes.
            message = f'{type(error).__name__}: {error}' if isinstance(error, LookupError) or not str(error) else error
            print(f'Error: {message}\n(MMLOCAT_TRACEBACK=1 shows where it was raised.)', file=sys.stderr)
        sys.exit(1)


def run_job(prepare: Callable[[], Callable]) -> None:
    """Prepares a job and runs it; the tools call it as their main function.

    Ctrl-C ends it with one line and exit code 130. An error while it runs goes into its log, traceback included; the
    last line on stderr names the log, and the exit code is 1.
    """
    code = 0
    with stoppable(_log):
        job = prepare_or_exit(prepare)
        try:
            job()
        except TrainingStopped as stopped:
            code = stopped.code
        except Exception as error:
            _report(error)
            sys.exit(1)
    del job
    leave_processes()
    if code:
        sys.exit(code)


def _log() -> str:
    """Returns a sentence that names this process's log; '' before it has one, and in all processes but the first."""
    files = [handler.baseFilename for handler in MMLogger.get_current_instance().handlers
             if isinstance(handler, logging.FileHandler)]
    return f'The log: {files[0]}' if files else ''


def _report(error: Exception) -> None:
    """Writes the error that ended a job into its log, and prints it with the log's path as the last line on stderr."""
    known = isinstance(error, _SPEAK_FOR_THEMSELVES)
    message = str(error) if known else f'{type(error).__name__}: {error}'
    MMLogger.get_current_instance().error(message, exc_info=None if known else error)
    if str(error).startswith('Caught '):  # raised in a data-loader worker; the message holds the whole traceback
        message = message.rstrip().splitlines()[-1]
    print(f'Error: {message.rstrip(".")}. {_log()}'.rstrip(), file=sys.stderr, flush=True)


def training_job(argv: Optional[List[str]] = None) -> Callable[[], object]:
    """Prepares a training as ``tools/train.py`` does, in this process; by default with the process's arguments."""
    return runpy.run_path(str(share_folder() / 'tools' / 'train.py'))['training_job'](argv)


def test_job(argv: Optional[List[str]] = None) -> Callable[[], dict]:
    """Prepares a test as ``tools/test.py`` does, in this process; see ``training_job``."""
    return runpy.run_path(str(share_folder() / 'tools' / 'test.py'))['test_job'](argv)
