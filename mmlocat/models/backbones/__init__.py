from .layers import LocAtAttention, LocAtEncoderLayer
from .locat_jumbo import LocAtJumbo
from .locat_swin import LocAtSwin
from .locat_vit import LocAtViT

__all__ = ['LocAtAttention', 'LocAtEncoderLayer', 'LocAtJumbo', 'LocAtSwin', 'LocAtViT']
