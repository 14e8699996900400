"""What stands between a config and mmengine's Runner: checks, CPU launches, one command line, layer-wise decay.

Importing it registers ``LayerDecayOptimWrapperConstructor``, ``ResumableFSDPStrategy`` and
``wrap_transformer_blocks``.
"""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.engine')

from .fsdp import ResumableFSDPStrategy, wrap_transformer_blocks  # noqa: E402
from .layer_decay import LayerDecayOptimWrapperConstructor  # noqa: E402

__all__ = ['LayerDecayOptimWrapperConstructor', 'ResumableFSDPStrategy', 'wrap_transformer_blocks']
