"""Keeps pages off the screen of a job: whole config and environment go into the log's file, some lines are shown."""

from __future__ import annotations

import logging
import re
import sys
from typing import Dict, List

import torch
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner

from mmlocat.utils.machine import processor, versions
from mmlocat.utils.terminal import is_main_process

# Messages of MMEngine and MMSegmentation for the record: pages, a line for each parameter, and what users can neither
# cause nor mend.
_FOR_THE_FILE = re.compile(
    r'[-\n]*System environment:|Config:\n|Hooks will be executed in the following order|paramwise_options -- '
    r'|.* is skipped since its requires_grad=False|Distributed training is not used, all SyncBatchNorm'
    r'|The prefix is not set in metric class|"FileClient" will be deprecated|"HardDiskBackend" is the alias')
# Of the packages whose versions are shown, if they are installed.
_SHOWN = ('python', 'torch', 'mmengine', 'onedl-mmengine', 'mmpretrain', 'onedl-mmpretrain', 'mmsegmentation',
          'onedl-mmsegmentation')
# ``logger.info(..., extra=IN_FILE)`` writes a line into the log's file alone, because the screen has it already.
IN_FILE: Dict[str, bool] = dict(in_file=True)


def say(text: str) -> None:
    """Prints a line of this package on stderr, in the first process."""
    if is_main_process():
        print(f'mmlocat: {text}', file=sys.stderr, flush=True)


class _ScreenFilter(logging.Filter):
    """Lets a log's screen skip what belongs into its file alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        return not (getattr(record, 'in_file', False) or _FOR_THE_FILE.match(str(record.msg)))


def keep_pages_in_file(logger: logging.Logger) -> None:
    """Makes a logger show only what is for the screen; if it has no file, the screen shows everything, as before."""
    if not any(isinstance(handler, logging.FileHandler) for handler in logger.handlers):
        return
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler) and not any(
                isinstance(present, _ScreenFilter) for present in handler.filters):
            handler.addFilter(_ScreenFilter())


def device_in_words() -> str:
    """Returns the name of the GPU that a job runs on, else the processor's with the number of threads."""
    if torch.cuda.is_available():
        return processor('cuda')
    return f'{processor("cpu")}, {torch.get_num_threads()} threads'


def introduction(runner: Runner) -> List[str]:
    """Returns what the screen shows in place of the pages: versions, device, processes, seed, and where the log is."""
    found = versions()
    named = ', '.join(f'{name} {found[name]}' for name in _SHOWN if name in found)
    lines = [f'mmlocat {found["mmlocat"]} on {named}',
             f'Device: {device_in_words()}; processes: {runner.world_size}; seed: {runner.seed}']
    files = [handler.baseFilename for handler in runner.logger.handlers if isinstance(handler, logging.FileHandler)]
    return lines + [f'The log, with the whole config and environment: {file}' for file in files]


def outlook(runner: Runner) -> str:
    """Returns a line that says how long a training is, and when its first figures come."""
    interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), None)
    figures = f'; figures come every {interval:,}' if interval else ''
    return f'The training begins: {runner.max_iters:,} iterations{figures}.'
