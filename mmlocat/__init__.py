"""mmlocat: LocAtViT for MMPretrain and MMSegmentation.

Importing this package is cheap: it loads neither torch nor OpenMMLab.
``mmlocat.attention`` is pure PyTorch, ``mmlocat.models`` registers the
backbone and the neck in both registries, ``mmlocat.resolve`` finds configs
and published weights by name.
"""

from __future__ import annotations

from typing import Optional, Tuple

__version__ = '0.1.0'

__all__ = ['__version__', 'resolve']


def resolve(name: str, weights: Optional[str] = None) -> Tuple[str, str]:
    """Returns config and checkpoint of a model by name; see ``mmlocat.zoo.resolve``."""
    from mmlocat.zoo import resolve as resolve_name
    return resolve_name(name, weights)
