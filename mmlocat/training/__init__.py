"""What stands between a config and mmengine's Runner: checks, CPU launches, one command line, layer-wise decay.

Importing it registers what a config may name, the names below.
"""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.training')

from mmlocat.engine.gaussian_stats import GaussianStatsHook  # noqa: E402
from mmlocat.engine.layer_decay import LayerDecayOptimWrapperConstructor  # noqa: E402

from .amp import CPUAmpOptimWrapper  # noqa: E402
from .fsdp import ResumableFSDPStrategy, wrap_transformer_blocks  # noqa: E402
from .nonfinite import NonFiniteHook  # noqa: E402
from .seeding import SeededDataset, SeededSampler  # noqa: E402

__all__ = [
    'CPUAmpOptimWrapper', 'GaussianStatsHook', 'LayerDecayOptimWrapperConstructor', 'NonFiniteHook',
    'ResumableFSDPStrategy', 'SeededDataset', 'SeededSampler', 'wrap_transformer_blocks'
]
