from .head import EoMTHead
from .segmentor import EoMT

__all__ = ['EoMT', 'EoMTHead']
