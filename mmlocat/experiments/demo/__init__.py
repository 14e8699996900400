"""The paper's experiment at laptop scale: pretrain, freeze, segment, compare."""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.experiments.demo')
