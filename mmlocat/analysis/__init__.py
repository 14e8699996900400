"""Reports what a config will train, and its parameters and operations, without data, weights or GPU: see README.md."""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.analysis')
