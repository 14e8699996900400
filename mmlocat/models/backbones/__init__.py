from .layers import GaussianAugmentation, LocAtAttention, LocAtEncoderLayer
from .locat_vit import LocAtViT

__all__ = ['GaussianAugmentation', 'LocAtAttention', 'LocAtEncoderLayer', 'LocAtViT']
