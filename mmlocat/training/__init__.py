"""Provides a Runner that checks a job first, resumes it exactly after any stop, and records what a result came from.

Importing it registers the names below, so that configs can use them; start with ``runner_type = 'CheckedRunner'``.
"""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.training')

from mmlocat.engine.gaussian_stats import GaussianStatsHook  # noqa: E402
from mmlocat.engine.layer_decay import LayerDecayOptimWrapperConstructor  # noqa: E402

from .amp import CPUAmpOptimWrapper  # noqa: E402
from .fsdp import ResumableFSDPStrategy, wrap_transformer_blocks  # noqa: E402
from .load_from import BareViTHook  # noqa: E402
from .nonfinite import NonFiniteHook  # noqa: E402
from .runner import CheckedFlexibleRunner, CheckedRunner, runner_class  # noqa: E402
from .seeding import SeededDataset, SeededSampler  # noqa: E402

__all__ = [
    'BareViTHook', 'CPUAmpOptimWrapper', 'CheckedFlexibleRunner', 'CheckedRunner', 'GaussianStatsHook',
    'LayerDecayOptimWrapperConstructor', 'NonFiniteHook', 'ResumableFSDPStrategy', 'SeededDataset', 'SeededSampler',
    'runner_class', 'wrap_transformer_blocks'
]
