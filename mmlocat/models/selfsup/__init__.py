from .dino import DINO
from .dino_head import DINOHead

__all__ = ['DINO', 'DINOHead']
