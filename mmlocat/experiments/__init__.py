"""Comparisons of many trainings: suites that train and test them, of which the demo is one, and the leaderboard."""

from mmlocat.utils import require_modules, require_openmmlab

require_openmmlab('mmlocat.experiments')
require_modules(('rich', 'filelock', 'matplotlib'), 'demo', 'mmlocat.experiments')
