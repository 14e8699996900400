"""Provides a hook and an optimizer constructor that configs can use with any Runner.

Importing it registers the names below; it does not need ``mmlocat.training``.
"""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.engine')

from .dino import DINOHook, PerParameterClipAdamW  # noqa: E402
from .gaussian_stats import GaussianStatsHook  # noqa: E402
from .layer_decay import LayerDecayOptimWrapperConstructor  # noqa: E402
from .mask_annealing import AnnealMasks  # noqa: E402

__all__ = [
    'AnnealMasks', 'DINOHook', 'GaussianStatsHook', 'LayerDecayOptimWrapperConstructor', 'PerParameterClipAdamW'
]
