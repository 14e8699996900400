"""Registers EoMT in MMSegmentation; ``mmlocat.models`` does not import it, so that a config must name it.

``custom_imports = dict(imports=['mmlocat.models.eomt', 'mmlocat.engine'])``, the second for the hook ``AnnealMasks``.
"""

from .head import EoMTHead
from .segmentor import EoMT
from .tta import ScoreTTAModel

__all__ = ['EoMT', 'EoMTHead', 'ScoreTTAModel']
