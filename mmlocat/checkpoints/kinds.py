"""Tells which backbone of the LocAt family weights belong to, and brings them to its names."""

from __future__ import annotations

import re
from typing import Any, Iterable, Mapping, Tuple

from . import swin_names
from .names import Translated, shared_once, translate

_SIGNS = {
    'LocAtSwin': re.compile(r'(^|\.)(layers|stages)\.\d+\.blocks\.\d+\.attn\.(w_msa\.)?relative_position_bias_table$'),
    'LocAtJumbo': re.compile(r'(^|\.)jumbo_mlp\.'),
}


def kind_of(names: Iterable[str]) -> str:
    """Returns the class that weights of these names belong to, plain or with GAug: LocAtViT unless a sign tells."""
    names = [str(name) for name in names]
    return next((kind for kind, sign in _SIGNS.items() if any(map(sign.search, names))), 'LocAtViT')


def translate_any(weights: Mapping[str, Any]) -> Tuple[str, Translated]:
    """Converts weights to the names of the class that they belong to; Jumbo's shared MLP is taken once.

    Args:
        weights: By name, as ``read_checkpoint`` gives them.

    Returns:
        The class's name, and the weights.

    Raises:
        ValueError: As ``translate`` and ``shared_once``.
    """
    kind = kind_of(weights)
    if kind == 'LocAtSwin':
        return kind, swin_names.translate(weights)
    translated = translate(weights)
    return kind, translated._replace(state_dict=shared_once(translated.state_dict))
