"""Infers the architecture of a ViT, a Jumbo or a Swin Transformer from its weights, as far as they show it."""

from __future__ import annotations

import math
import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

from torch import Tensor

from .errors import CheckpointError
from .kinds import kind_of

# Number of heads of well-known widths; 1280 has heads of 80 channels, all others of 64.
_HEADS = {192: 3, 384: 6, 512: 8, 768: 12, 1024: 16, 1280: 16}
_TABLE = re.compile(r'layers\.(\d+)\.blocks\.\d+\.attn\.relative_position_bias_table$')


def infer_arch(state_dict: Mapping[str, Tensor], *, num_heads: Optional[int] = None,
               grid: Optional[Tuple[int, int]] = None) -> Dict[str, Any]:
    """Returns the arguments of the backbone, of the class that ``kind_of`` tells, that has these weights.

    Args:
        state_dict: Bare weights under our names.
        num_heads: Number of attention heads, if the weights do not show it.
        grid: The pretraining grid (H, W), if there is no position embedding or it is not square; not used for a Swin.

    Returns:
        arch, img_size, patch_size and the switches of the class. A Swin's img_size is one at which its windows have
        the sizes that the weights show, with one window in the last stage.

    Raises:
        CheckpointError: The weights are not such a backbone's, or do not determine an argument; the message says which
            option sets it.
    """
    kind = kind_of(state_dict)
    if kind == 'LocAtSwin':
        return _swin(state_dict, num_heads)
    blocks = {name.split('.')[1] for name in state_dict if re.match(r'layers\.\d+\.attn\.qkv\.weight$', name)}
    stem, first = (state_dict.get(name) for name in ('patch_embed.projection.weight', 'layers.0.ffn.layers.0.0.weight'))
    lacking = kind == 'LocAtJumbo' and not {'cls_token', 'jumbo_mlp.fc1.weight'} <= state_dict.keys()
    if (stem is None or stem.dim() != 4 or first is None or blocks != {str(i) for i in range(len(blocks))} or lacking):
        some = f'{", ".join(list(state_dict)[:3])} ...' if state_dict else 'no name in the file is one of a ViT'
        raise CheckpointError(f'these are no weights of a plain ViT: {some}')
    dims, patch, gaug = stem.shape[0], stem.shape[2:], state_dict.get('layers.0.attn.gaug.log_var.weight')
    shown = dims // gaug.shape[1] if gaug is not None else None
    heads = shown or num_heads or _HEADS.get(dims)
    if shown and num_heads not in (None, shown):
        raise CheckpointError(f'weights of {dims} channels have {shown} heads, not {num_heads}; leave --num-heads out')
    if heads is None or dims % heads:
        divided = f', and {heads} do not divide them' if heads else ''
        raise CheckpointError(f'{dims} channels do not show how many heads attention has{divided}; give --num-heads')
    registers = state_dict['reg_token'].shape[1] if 'reg_token' in state_dict else 0
    prefix = 0 if kind == 'LocAtJumbo' else ('cls_token' in state_dict) + registers  # entries before the patches'
    grid, embeds_prefix = _grid(state_dict.get('pos_embed'), prefix, grid)
    arguments: Dict[str, Any] = dict(
        arch=dict(embed_dims=dims, num_layers=len(blocks), num_heads=heads, feedforward_channels=first.shape[0]),
        img_size=(grid[0] * patch[0], grid[1] * patch[1]), patch_size=tuple(patch), in_channels=stem.shape[1],
        gaug=gaug is not None, with_pos_embed='pos_embed' in state_dict,
        qkv_bias='layers.0.attn.qkv.bias' in state_dict, pre_norm='pre_norm.weight' in state_dict,
        final_norm='ln1.weight' in state_dict)
    if kind == 'LocAtJumbo':
        hidden, joined = state_dict['jumbo_mlp.fc1.weight'].shape
        arguments.update(num_cls_tokens=state_dict['cls_token'].shape[1], jumbo_mlp_ratio=hidden / joined,
                         norm_patches='norm_patches.weight' in state_dict)
    else:
        arguments.update(with_cls_token='cls_token' in state_dict, num_registers=registers,
                         no_embed_class=not embeds_prefix)
    if 'patch_embed.projection.bias' not in state_dict:
        arguments['patch_cfg'] = dict(bias=False)
    if 'rope.freqs' in state_dict:
        arguments['rope'] = 'mixed'
    if 'layers.0.attn.gamma1.weight' in state_dict:
        arguments['layer_scale_init_value'] = 1e-5
    return arguments


def _swin(state_dict: Mapping[str, Tensor], num_heads: Optional[int]) -> Dict[str, Any]:
    """Returns the arguments of the ``LocAtSwin`` that has these weights, under published names."""
    stages: Dict[int, List[Tensor]] = {}
    for name, value in state_dict.items():
        if _TABLE.match(name):
            stages.setdefault(int(_TABLE.match(name)[1]), []).append(value)
    stem, first = (state_dict.get(name) for name in ('patch_embed.proj.weight', 'layers.0.blocks.0.mlp.fc1.weight'))
    if stem is None or stem.dim() != 4 or first is None or set(stages) != set(range(len(stages))):
        some = ', '.join(list(state_dict)[:3])
        raise CheckpointError(f'these are no weights of a whole Swin Transformer: {some} ...')
    tables = [stages[stage][0] for stage in range(len(stages))]
    heads = tuple(table.shape[1] for table in tables)
    if num_heads is not None:
        raise CheckpointError(f'the stages of a Swin Transformer show their heads, {heads}; leave --num-heads out')
    windows = [(math.isqrt(len(table)) + 1) // 2 for table in tables]
    last = windows[-1] << len(windows) - 1
    side = next((side for side in range(last, 0, -1) if windows == [  # tokens along the image
        min(windows[0], -(-side >> stage)) for stage in range(len(windows))]), None)
    if side is None or any((2 * window - 1)**2 != len(table) for window, table in zip(windows, tables)):
        raise CheckpointError('the relative positions of its stages, '
                              f'{", ".join(str(len(table)) for table in tables)}, are not those of square windows in a '
                              'square image, and others cannot be converted')
    return dict(arch=dict(embed_dims=stem.shape[0], depths=tuple(len(stages[stage]) for stage in range(len(stages))),
                          num_heads=heads),
                img_size=(side * stem.shape[2], ) * 2, patch_size=stem.shape[2], in_channels=stem.shape[1],
                window_size=windows[0], mlp_ratio=first.shape[0] / stem.shape[0],
                gaug='layers.0.blocks.0.attn.gaug.log_var.weight' in state_dict, final_norm='norm.weight' in state_dict)


def _grid(embedding: Optional[Tensor], prefix: int, given: Optional[Tuple[int, int]]) -> Tuple[Tuple[int, int], bool]:
    """Returns the pretraining grid, and whether the position embedding covers the prefix tokens."""
    if embedding is None and given is not None:
        return tuple(given), True
    for covered in (prefix, 0) if embedding is not None else ():
        patches = embedding.shape[1] - covered
        side = math.isqrt(max(patches, 0))
        for grid in filter(None, (given, (side, side))):
            if patches == grid[0] * grid[1] > 0:
                return tuple(grid), covered == prefix
    reason = 'they have no position embedding' if embedding is None else (
        f'their position embedding is no square grid and {prefix} prefix entries')
    raise CheckpointError('the weights do not show their pretraining grid; give --ref-grid H W (14 14 for 224 px and '
                          f'patches of 16); {reason}')
