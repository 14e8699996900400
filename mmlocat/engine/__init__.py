"""What stands between a config and mmengine's Runner: checks, CPU launches, one command line, layer-wise decay.

Importing it registers ``LayerDecayOptimWrapperConstructor`` and ``GaussianStatsHook``.
"""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.engine')

from .gaussian_stats import GaussianStatsHook  # noqa: E402
from .layer_decay import LayerDecayOptimWrapperConstructor  # noqa: E402

__all__ = ['GaussianStatsHook', 'LayerDecayOptimWrapperConstructor']
