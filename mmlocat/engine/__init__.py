"""What stands between a config and mmengine's Runner: checks, CPU launches, one command line, layer-wise decay.

Importing it registers ``LayerDecayOptimWrapperConstructor``.
"""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.engine')

from .layer_decay import LayerDecayOptimWrapperConstructor  # noqa: E402

__all__ = ['LayerDecayOptimWrapperConstructor']
