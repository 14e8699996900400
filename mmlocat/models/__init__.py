"""Registers LocAtViT and PatchRefinement in MMPretrain and in MMSegmentation.

MMPretrain's ``get_model`` then also knows this package's classifiers by name.
Put ``custom_imports = dict(imports=['mmlocat.models'])`` into a config and ``type='LocAtViT'``
resolves under ``default_scope='mmseg'`` and ``'mmpretrain'``, and ``'mmpretrain.LocAtViT'`` everywhere.
EoMT is registered by ``mmlocat.models.eomt`` alone: it imports all models of MMSegmentation, which classifiers need not
wait for, and which MMSegmentation 1.2 cannot import with an mmcv without compiled operators.
"""

from mmlocat.utils import require_openmmlab
from mmlocat.zoo import find_installed_libraries, register_classifiers

require_openmmlab('mmlocat.models')

# Registers GaussianStatsHook too, for configs that import only this package; the hook needs only mmlocat.attention.
import mmlocat.engine.gaussian_stats  # noqa: E402, F401
from mmlocat.engine.checkpoint_loader import register_schemes  # noqa: E402

from .backbones import LocAtJumbo, LocAtSwin, LocAtViT  # noqa: E402
from .necks import PatchRefinement  # noqa: E402
from .selfsup import DINO, DINOHead  # noqa: E402

# Makes MMEngine read hf://, timm:// and .safetensors, which it cannot by itself.
register_schemes()
register_classifiers()
find_installed_libraries()

__all__ = ['DINO', 'DINOHead', 'LocAtJumbo', 'LocAtSwin', 'LocAtViT', 'PatchRefinement']
