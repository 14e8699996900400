"""Implements the mathematics of LocAt, GAug and PRR, as pure PyTorch functions.

Nothing in this folder imports an OpenMMLab package.
"""

from .api import gaussian_attention
from .choice import available_backends
from .kernel import GaussianKernel
from .module import GaussianAttention
from .refinement import refine_patches, refinement_weights
from .weights import attention_weights

__all__ = [
    'GaussianAttention', 'GaussianKernel', 'attention_weights', 'available_backends', 'gaussian_attention',
    'refine_patches', 'refinement_weights'
]
