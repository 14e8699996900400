"""Infers a ViT's architecture from its weights, as far as they show it."""

from __future__ import annotations

import math
import re
from typing import Any, Dict, Mapping, Optional, Tuple

from torch import Tensor

from .errors import CheckpointError

# Number of heads of well-known widths; 1280 has heads of 80 channels, all others of 64.
_HEADS = {192: 3, 384: 6, 512: 8, 768: 12, 1024: 16, 1280: 16}


def infer_arch(state_dict: Mapping[str, Tensor], *, num_heads: Optional[int] = None,
               grid: Optional[Tuple[int, int]] = None) -> Dict[str, Any]:
    """Returns the arguments of the ``LocAtViT`` that has these weights.

    Args:
        state_dict: Bare weights under our names.
        num_heads: Number of attention heads, if the weights do not show it.
        grid: The pretraining grid (H, W), if there is no position embedding or it is not square.

    Returns:
        arch, img_size, patch_size and the switches of ``LocAtViT``.

    Raises:
        CheckpointError: The weights are not a ViT's, or do not determine an argument; the message says which option
            sets it.
    """
    blocks = [int(match[1]) for match in (re.match(r'layers\.(\d+)\.attn\.qkv\.weight$', name) for name in state_dict)
              if match]
    stem = state_dict.get('patch_embed.projection.weight')
    first = state_dict.get('layers.0.ffn.layers.0.0.weight')
    if stem is None or stem.dim() != 4 or first is None or sorted(blocks) != list(range(len(blocks))):
        raise CheckpointError(f'these are no weights of a plain ViT: {", ".join(list(state_dict)[:3])} ...')
    dims, patch = stem.shape[0], tuple(stem.shape[2:])
    has_cls, registers = 'cls_token' in state_dict, state_dict.get('reg_token')
    num_registers = 0 if registers is None else registers.shape[1]
    embedding = state_dict.get('pos_embed')
    grid, embeds_prefix = _grid(embedding, int(has_cls) + num_registers, grid)
    arch = dict(embed_dims=dims, num_layers=len(blocks), num_heads=_num_heads(state_dict, dims, num_heads),
                feedforward_channels=first.shape[0])
    arguments: Dict[str, Any] = dict(
        arch=arch, img_size=(grid[0] * patch[0], grid[1] * patch[1]), patch_size=patch,
        in_channels=stem.shape[1], gaug='layers.0.attn.gaug.log_var.weight' in state_dict,
        with_cls_token=has_cls, num_registers=num_registers, with_pos_embed=embedding is not None,
        no_embed_class=not embeds_prefix, qkv_bias='layers.0.attn.qkv.bias' in state_dict,
        pre_norm='pre_norm.weight' in state_dict, final_norm='ln1.weight' in state_dict)
    if 'patch_embed.projection.bias' not in state_dict:
        arguments['patch_cfg'] = dict(bias=False)
    if 'layers.0.attn.gamma1.weight' in state_dict:
        arguments['layer_scale_init_value'] = 1e-5
    return arguments


def _num_heads(state_dict: Mapping[str, Tensor], dims: int, given: Optional[int]) -> int:
    gaug = state_dict.get('layers.0.attn.gaug.log_var.weight')
    shown = dims // gaug.shape[1] if gaug is not None else None
    if given is not None and shown is not None and given != shown:
        raise CheckpointError(f'--num-heads {given}: the GAug weights are of {shown} heads; leave the option out')
    heads = shown or given or _HEADS.get(dims)
    if heads is None or dims % heads:
        raise CheckpointError(f'weights of {dims} channels do not show how many heads attention has'
                              + (f', and {heads} do not divide them' if heads else '') + '; give --num-heads')
    return heads


def _grid(embedding: Optional[Tensor], prefix: int, given: Optional[Tuple[int, int]]) -> Tuple[Tuple[int, int], bool]:
    """Returns the pretraining grid, and whether the position embedding covers prefix tokens."""
    if embedding is None:
        if given is None:
            raise CheckpointError('weights without a position embedding do not show their pretraining grid; give '
                                  '--ref-grid H W (14 14 for 224 px and patches of 16)')
        return tuple(given), True
    entries = embedding.shape[1]
    for covered in (prefix, 0):
        patches = entries - covered
        side = math.isqrt(max(patches, 0))
        if given is not None and patches == given[0] * given[1]:
            return tuple(given), covered > 0 or prefix == 0
        if side and side * side == patches:
            return (side, side), covered > 0 or prefix == 0
    raise CheckpointError(f'a position embedding of {entries} entries is no square grid and {prefix} prefix entries; '
                          'give its grid with --ref-grid H W')
