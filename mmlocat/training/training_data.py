"""Checks the data before a training: the quick form of ``tools/data/check.py``."""

from __future__ import annotations

from typing import List

from mmengine.config import Config

from mmlocat.datasets.check import QUICK_FILES, check_data

from .context import Context
from .hardware import is_main_process


def check_training_data(config: Config, context: Context) -> List[str]:
    """Makes sure that the data of a training are there.

    Folders, lists, pairs and counts are checked for all files, and a few samples are opened. Data sets that verify
    their own files, as DigitScenes does, are skipped. With several processes only the first one checks.

    Raises:
        RuntimeError: Data are missing or damaged; the message has the first fault and the command that fixes it.
    """
    if not context.options['data'] or not is_main_process():
        return []
    loaders = [name for name in ('train', 'val') if config.get(f'{name}_dataloader')]
    if not loaders:
        return []
    reports = check_data(config, loaders, QUICK_FILES)
    errors = [(report.title, error) for report in reports for error in report.errors]
    if errors:
        title, first = errors[0]
        more = f'; {len(errors) - 1} more' if len(errors) > 1 else ''
        fix = f'; to mend it: {first.fix}' if first.fix else ''
        raise RuntimeError(f'{title} data: {first.message}{fix}{more} (python tools/data/check.py '
                           f'{config.filename or "CONFIG"} lists all; --no-data-check, or checks.data=False, trains '
                           'without this look)')
    return [f'{report.title} data: {remark.message}.' for report in reports for remark in report.remarks]
