"""Published beside measured, with what each measured number came from: see README.md."""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.experiments.leaderboard')
