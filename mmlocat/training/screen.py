"""Keeps pages off the screen of a job: whole config and environment go into the log's file, some lines are shown."""

from __future__ import annotations

import logging
from typing import Dict, List

import torch
from mmengine.runner import Runner

from mmlocat.utils.machine import processor, versions

# How messages begin that MMEngine and MMSegmentation log for the record: pages, and what users can neither cause nor
# mend. (A line of dashes stands before the environment.)
_FOR_THE_FILE = (
    'System environment:',
    'Config:\n',
    'Hooks will be executed in the following order',
    'Distributed training is not used, all SyncBatchNorm',
    'The prefix is not set in metric class',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)
# Of the packages whose versions are shown, if they are installed.
_SHOWN = ('python', 'torch', 'mmengine', 'onedl-mmengine', 'mmpretrain', 'onedl-mmpretrain', 'mmsegmentation',
          'onedl-mmsegmentation')
# ``logger.info(..., extra=IN_FILE)`` writes a line into the log's file alone, because the screen has it already.
IN_FILE: Dict[str, bool] = dict(in_file=True)


class _ScreenFilter(logging.Filter):
    """Lets a log's screen skip what belongs into its file alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        return not (getattr(record, 'in_file', False) or str(record.msg).lstrip('-\n').startswith(_FOR_THE_FILE))


def keep_pages_in_file(logger: logging.Logger) -> None:
    """Makes a logger show only what is for the screen; if it has no file, the screen shows everything, as before."""
    if not any(isinstance(handler, logging.FileHandler) for handler in logger.handlers):
        return
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler) and not any(
                isinstance(present, _ScreenFilter) for present in handler.filters):
            handler.addFilter(_ScreenFilter())


def introduction(runner: Runner) -> List[str]:
    """Returns what the screen shows in place of the pages: versions, device, processes, seed, and where the log is."""
    found = versions()
    named = ', '.join(f'{name} {found[name]}' for name in _SHOWN if name in found)
    cuda = torch.cuda.is_available()
    device = processor('cuda') if cuda else f'{processor("cpu")}, {torch.get_num_threads()} threads'
    lines = [f'mmlocat {found["mmlocat"]} on {named}',
             f'Device: {device}; processes: {runner.world_size}; seed: {runner.seed}']
    files = [handler.baseFilename for handler in runner.logger.handlers if isinstance(handler, logging.FileHandler)]
    return lines + [f'The log, with the whole config and environment: {file}' for file in files]
