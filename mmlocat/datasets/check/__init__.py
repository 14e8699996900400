"""Says before any GPU hour whether a config's data are there, complete and sound.

``sources.py`` holds what is known of the official data sets, ``segmentation.py`` and ``classification.py`` look at
folders and lists, ``reading.py`` opens files, ``report.py`` says what was found, ``run.py`` goes through a config.
"""

from .report import Finding, Report, render
from .run import QUICK_FILES, SAMPLED_FILES, check_data

__all__ = ['QUICK_FILES', 'SAMPLED_FILES', 'Finding', 'Report', 'check_data', 'render']
