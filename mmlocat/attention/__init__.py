"""The mathematics of LocAt as pure PyTorch functions: GAug and PRR.

Nothing in this folder imports an OpenMMLab package.
"""

from .api import available_backends, gaussian_attention
from .augmentation import GaussianAugmentation
from .kernel import GaussianKernel
from .refinement import refine_patches

__all__ = ['GaussianAugmentation', 'GaussianKernel', 'available_backends', 'gaussian_attention', 'refine_patches']
