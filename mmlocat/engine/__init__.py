"""What stands between a config and mmengine's Runner: checks, CPU launches, one command line, layer-wise decay.

Importing it registers ``LayerDecayOptimWrapperConstructor``, ``SeededDataset`` and ``SeededSampler``.
"""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.engine')

from .layer_decay import LayerDecayOptimWrapperConstructor  # noqa: E402
from .seeding import SeededDataset, SeededSampler  # noqa: E402

__all__ = ['LayerDecayOptimWrapperConstructor', 'SeededDataset', 'SeededSampler']
