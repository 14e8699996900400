"""Translates the parameter names of timm and of published LocAtViT weights."""

from __future__ import annotations

import re
from typing import Dict, Mapping, TypeVar

Value = TypeVar('Value')

# timm's name -> ours, which is mmpretrain's. The first pattern that matches is applied.
_RULES = tuple((re.compile(pattern), replacement) for pattern, replacement in (
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'^norm_pre\.', 'pre_norm.'),
    (r'^norm\.', 'ln1.'),
    (r'^blocks\.(\d+)\.norm([12])\.', r'layers.\1.ln\2.'),
    (r'^blocks\.(\d+)\.mlp\.fc1\.', r'layers.\1.ffn.layers.0.0.'),
    (r'^blocks\.(\d+)\.mlp\.fc2\.', r'layers.\1.ffn.layers.1.'),
    (r'^blocks\.(\d+)\.ls1\.gamma$', r'layers.\1.attn.gamma1.weight'),
    (r'^blocks\.(\d+)\.ls2\.gamma$', r'layers.\1.ffn.gamma2.scale'),
    (r'^blocks\.(\d+)\.', r'layers.\1.'),
))
# Wrappers a checkpoint may have been saved through, outermost first.
_WRAPPERS = ('module.', 'backbone.')


def to_mmlocat_names(state_dict: Mapping[str, Value]) -> Dict[str, Value]:
    """Renames the entries of a ViT's state dict to those of ``LocAtViT``.

    Takes timm's and published LocAtViT names, mmpretrain's and our own, with 'module.' or 'backbone.' in
    front. If there are 'backbone.' entries, others such as 'head.' keep their names.

    Args:
        state_dict: Names and values of any kind.

    Returns:
        A new dict in the same order.

    Raises:
        ValueError: Two entries would get one name.
    """
    renamed: Dict[str, Value] = {}
    for name, value in state_dict.items():
        new = name
        for wrapper in _WRAPPERS:
            new = new[len(wrapper):] if new.startswith(wrapper) else new
        for pattern, replacement in _RULES:
            if pattern.search(new):
                new = pattern.sub(replacement, new)
                break
        if new in renamed:
            raise ValueError(f'two entries of the state dict would be called {new}; the second was {name}')
        renamed[new] = value
    return renamed
