"""Trains and tests the rows of a suite, one command for a whole table: see README.md."""

from mmlocat.utils import require_modules

require_modules(('rich', 'filelock'), 'demo', 'mmlocat.experiments.suite')
