"""Measures and draws what a backbone attends to, what its features are like, and what a segmentor predicts."""

from mmlocat.utils import require_openmmlab
from mmlocat.utils.arguments import DEMO_MAX_SIDE

require_openmmlab('mmlocat.visualization')

from .blocks import BlockMaps, Maps  # noqa: E402
from .maps import collect, prepare_image  # noqa: E402
from .segmentor import load_segmentor  # noqa: E402

__all__ = ['BlockMaps', 'DEMO_MAX_SIDE', 'Maps', 'collect', 'load_segmentor', 'prepare_image']
