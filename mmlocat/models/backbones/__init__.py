from .layers import LocAtAttention, LocAtEncoderLayer
from .locat_swin import LocAtSwin
from .locat_vit import LocAtViT

__all__ = ['LocAtAttention', 'LocAtEncoderLayer', 'LocAtSwin', 'LocAtViT']
