"""What a config may name in any Runner: the hooks and the optimizer constructor of the plugin.

Importing it registers the names below; it needs nothing of the trainer.
"""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.engine')

from .gaussian_stats import GaussianStatsHook  # noqa: E402
from .layer_decay import LayerDecayOptimWrapperConstructor  # noqa: E402

__all__ = ['GaussianStatsHook', 'LayerDecayOptimWrapperConstructor']
