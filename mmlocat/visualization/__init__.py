"""What a backbone looks at, and what became of its features: numbers first, then pictures of them."""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.visualization')

from .blocks import BlockMaps, Maps  # noqa: E402
from .maps import collect, prepare_image  # noqa: E402
from .segmentor import DEMO_MAX_SIDE, load_segmentor  # noqa: E402

__all__ = ['BlockMaps', 'DEMO_MAX_SIDE', 'Maps', 'collect', 'load_segmentor', 'prepare_image']
