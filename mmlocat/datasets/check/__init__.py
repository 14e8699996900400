"""Checks before a training whether a config's data are present, complete and readable.

``sources.py`` describes the official data sets, ``segmentation.py`` and ``classification.py`` check folders and lists,
``reading.py`` opens files, ``report.py`` collects and prints the findings, ``run.py`` goes through a config.
"""

from .report import Finding, Report, render
from .run import QUICK_FILES, SAMPLED_FILES, check_data

__all__ = ['QUICK_FILES', 'SAMPLED_FILES', 'Finding', 'Report', 'check_data', 'render']
