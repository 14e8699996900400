"""Implements the mathematics of LocAt, GAug and PRR, as pure PyTorch functions, and LocAtViT around them.

Nothing in this folder imports an OpenMMLab package.
"""

from .backends import available_backends
from .dense import attention_weights
from .gaug import GaussianAttention, gaussian_attention
from .kernel import GaussianKernel
from .refinement import refine_patches, refinement_weights
from .vit import create_model

__all__ = [
    'GaussianAttention', 'GaussianKernel', 'attention_weights', 'available_backends', 'create_model',
    'gaussian_attention', 'refine_patches', 'refinement_weights'
]
