from .layers import LocAtAttention, LocAtEncoderLayer
from .locat_vit import LocAtViT

__all__ = ['LocAtAttention', 'LocAtEncoderLayer', 'LocAtViT']
