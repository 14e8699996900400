"""Registers LocAtViT and PatchRefinement in MMPretrain and in MMSegmentation.

Put ``custom_imports = dict(imports=['mmlocat.models'])`` into a config and ``type='LocAtViT'``
resolves under ``default_scope='mmseg'`` and ``'mmpretrain'``, and ``'mmpretrain.LocAtViT'`` everywhere.
"""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.models')

from .backbones import LocAtViT  # noqa: E402
from .necks import PatchRefinement  # noqa: E402

__all__ = ['LocAtViT', 'PatchRefinement']
