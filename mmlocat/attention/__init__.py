"""The mathematics of LocAt as pure PyTorch functions: GAug and PRR.

Nothing in this folder imports an OpenMMLab package.
"""

from .api import available_backends, gaussian_attention
from .augmentation import GaussianAugmentation
from .kernel import GaussianKernel
from .refinement import refine_patches, refinement_weights
from .weights import attention_weights

__all__ = [
    'GaussianAugmentation', 'GaussianKernel', 'attention_weights', 'available_backends', 'gaussian_attention',
    'refine_patches', 'refinement_weights'
]
