"""Translates the parameter names of Swin Transformers: the original repository's, mmpretrain's and mmseg's to timm's.

Published LocAtSwin weights have timm's names. The libraries differ in three ways beside names: the original repository
and OpenMMLab keep the merging layer at the end of the stage before; OpenMMLab's merging layer counts its inputs channel
by channel, not pixel by pixel; and OpenMMLab has one norm for each output.
"""

from __future__ import annotations

import re
from typing import Any, Collection, Dict, List, Mapping, Tuple

from torch import Tensor

from .names import Translated, bare

# What begins the names of the head in MMPretrain's classifiers around a Swin, and in the published weights.
CLASSIFIER_HEAD = 'head.fc.'
_BUFFERS = ('relative_position_index', 'attn_mask')
_FROM_OPENMMLAB = (
    (re.compile(r'^patch_embed\.projection\.'), 'patch_embed.proj.'),
    (re.compile(r'^stages\.'), 'layers.'),
    (re.compile(r'\.attn\.w_msa\.'), '.attn.'),
    (re.compile(r'\.ffn\.layers\.0\.0\.'), '.mlp.fc1.'),
    (re.compile(r'\.ffn\.layers\.1\.'), '.mlp.fc2.'),
)
_TO_OPENMMLAB = (
    (re.compile(r'^patch_embed\.proj\.'), 'patch_embed.projection.'),
    (re.compile(r'^layers\.'), 'stages.'),
    (re.compile(r'\.attn\.(qkv|proj|relative_position_bias_table|gaug)'), r'.attn.w_msa.\1'),
    (re.compile(r'\.mlp\.fc1\.'), '.ffn.layers.0.0.'),
    (re.compile(r'\.mlp\.fc2\.'), '.ffn.layers.1.'),
)
_MERGING = re.compile(r'^layers\.(\d+)\.downsample\.')
_STAGE = re.compile(r'^(?:layers|stages)\.(\d+)\.')
_OUTPUT_NORM = re.compile(r'^norm(\d+)\.')


def translate(checkpoint: Mapping[str, Any]) -> Translated:
    """Converts a Swin Transformer's weights to the published names; see ``names.translate`` and ``to_published``."""
    kept = bare(checkpoint)
    weights, library = to_published(kept.state_dict)
    return Translated(weights, library, kept.nesting)


def output_norms(names: Collection[str]) -> List[str]:
    """Returns the names of OpenMMLab's norms for outputs of stages before the last, which ours lacks."""
    last, found = _last_stage(names), {name: _OUTPUT_NORM.match(name) for name in names}
    return [name for name, match in found.items() if match and int(match[1]) < last]


def to_published(state_dict: Mapping[str, Tensor]) -> Tuple[Dict[str, Tensor], str]:
    """Brings the weights of any Swin Transformer to the published names and order of channels.

    Args:
        state_dict: Weights of the backbone as timm, the original repository, mmpretrain or mmseg name them. Buffers
            are left out; weights of a head keep their names.

    Returns:
        The weights, and whose names they had: 'timm', 'Swin Transformer' (the original repository's) or 'OpenMMLab'.
    """
    weights = {name: value for name, value in state_dict.items() if name.split('.')[-1] not in _BUFFERS}
    if any(name.startswith('stages.') for name in weights):
        weights = {_replaced(name, _FROM_OPENMMLAB): value for name, value in weights.items()}
        weights = {name: _by_pixel(value) if _MERGING.match(name) else value for name, value in weights.items()}
        last, left_out = f'norm{_last_stage(weights)}.', set(output_norms(weights))
        weights = {name.replace(last, 'norm.') if name.startswith(last) else name: value
                   for name, value in weights.items() if name not in left_out}
        return _merging_moved(weights, 1), 'OpenMMLab'
    if 'layers.0.downsample.reduction.weight' in weights:
        return _merging_moved(weights, 1), 'Swin Transformer'
    return weights, 'timm'


def to_openmmlab(state_dict: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """Brings weights under published names to those of mmpretrain's ``SwinTransformer``, which mmseg's has too.

    Args:
        state_dict: Weights of a backbone.

    Returns:
        The weights; the final norm is that of the last stage.
    """
    weights = {name: _by_channel(value) if _MERGING.match(name) else value for name, value in state_dict.items()}
    last = f'norm{_last_stage(weights)}.'
    weights = {name.replace('norm.', last) if name.startswith('norm.') else name: value
               for name, value in weights.items()}
    return {_replaced(name, _TO_OPENMMLAB): value for name, value in _merging_moved(weights, -1).items()}


def to_original(state_dict: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """Brings weights under published names to those of the original repository."""
    return _merging_moved(state_dict, -1)


def _last_stage(names: Collection[str]) -> int:
    return max((int(match[1]) for match in map(_STAGE.match, names) if match), default=0)


def _replaced(name: str, rules: tuple) -> str:
    for pattern, replacement in rules:
        name = pattern.sub(replacement, name)
    return name


def _merging_moved(weights: Mapping[str, Tensor], stages: int) -> Dict[str, Tensor]:
    """Moves merging layers to a later or an earlier stage."""
    return {_MERGING.sub(lambda match: f'layers.{int(match[1]) + stages}.downsample.', name): value
            for name, value in weights.items()}


def _by_pixel(value: Tensor) -> Tensor:
    """Reorders a merging layer's inputs, the last axis, from channels x (row, column) to (column, row) x channels."""
    return value.unflatten(-1, (-1, 2, 2)).movedim((-1, -2, -3), (-3, -2, -1)).flatten(-3)


def _by_channel(value: Tensor) -> Tensor:
    """Undoes ``_by_pixel``."""
    return value.unflatten(-1, (2, 2, -1)).movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3)
