"""mmlocat: LocAtViT for MMPretrain and MMSegmentation.

Importing this package is cheap: it loads neither torch nor OpenMMLab.
``mmlocat.attention`` is pure PyTorch, ``mmlocat.models`` registers the
backbone and the neck in both registries.
"""

__version__ = '0.1.0'

__all__ = ['__version__']
