"""What a backbone looks at, and what became of its features: numbers first, then pictures of them."""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.visualization')

from .maps import BlockMaps, Maps, collect, prepare_image  # noqa: E402

__all__ = ['BlockMaps', 'Maps', 'collect', 'prepare_image']
