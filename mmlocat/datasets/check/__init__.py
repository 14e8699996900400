"""Checks before a training whether a config's data are present, complete and readable."""

from .report import Report, render
from .run import QUICK_FILES, SAMPLED_FILES, check_data

__all__ = ['QUICK_FILES', 'SAMPLED_FILES', 'Report', 'check_data', 'render']
