"""Defines what both builds of LocAtViT compute alike: the attention of a block, and the tokens that enter the first."""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..gaug import GaussianAttention
from ..kernel import Grid
from ..pytorch import merge_heads
from .position import resize_position_embedding
from .rope import rotate


def split_heads(qkv: Tensor, num_heads: int) -> Tuple[Tensor, ...]:
    """Splits the output of a layer ``qkv``, (B, N, 3 * h * d), into query, key and value, (B, h, N, d) each."""
    batch, num_tokens, channels = qkv.shape
    return qkv.view(batch, num_tokens, 3, num_heads, channels // (3 * num_heads)).permute(2, 0, 3, 1, 4).unbind(0)


def self_attention(qkv: Tensor, num_heads: int, gaug: Optional[GaussianAttention], grid: Grid, *,
                   num_prefix_tokens: int, angles: Optional[Tensor] = None, bias: Optional[Tensor] = None,
                   dropout_p: float = 0.0) -> Tensor:
    """Attends over tokens, with GAug or without.

    Args:
        qkv: Output of the layer of this name, shape (B, N, 3 * C); prefix tokens first, then patches row-major.
        num_heads: h.
        gaug: The block's GAug; None for plain attention.
        grid: The patch grid (H, W).
        num_prefix_tokens: P, which are not rotated and have no Gaussians.
        angles: Of patches, shape (h, H*W, d / 2), in radians. They rotate queries and keys, after GAug has read the
            queries. None rotates nothing.
        bias: What else is added to the logits; broadcastable to (B, h, N, N).
        dropout_p: Probability of dropping an attention weight; always applied, so pass 0 in evaluation.

    Returns:
        Shape (B, N, C), before the output projection.
    """
    query, key, value = split_heads(qkv, num_heads)
    gate = query
    if bias is not None:
        bias = bias.to(query.dtype)  # under autocast, which has made the queries half precision
    if angles is not None:
        query, key = (rotate(part, angles, num_prefix_tokens) for part in (query, key))
    if gaug is None:
        out = scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout_p)
    else:
        out = gaug(query, key, value, grid, gate_query=None if gate is query else gate,
                   num_prefix_tokens=num_prefix_tokens, bias=bias, dropout_p=dropout_p)
    return merge_heads(out)


def add_prefix_and_position(patches: Tensor, prefix: Sequence[Optional[Tensor]], embedding: Optional[Tensor],
                            source: Grid, grid: Grid, num_prefix_positions: int, mode: str = 'bicubic') -> Tensor:
    """Puts prefix tokens before the patches, and adds the position embedding.

    Args:
        patches: Shape (B, H*W, C).
        prefix: Class and register tokens, (1, n, C) each, in this order; None for those that the model lacks.
        embedding: The position embedding, or None; see ``resize_position_embedding``, as for the others.
        source: Its grid.
        grid: The patch grid (H, W).
        num_prefix_positions: Entries of the embedding that belong to prefix tokens: all of them have one, or none.
        mode: How the embedding is resized.

    Returns:
        Shape (B, P + H*W, C).
    """
    tokens = [token.expand(patches.shape[0], -1, -1) for token in prefix if token is not None]
    if embedding is None:
        return torch.cat([*tokens, patches], dim=1)
    position = resize_position_embedding(embedding, source, grid, num_prefix_positions, mode)
    if num_prefix_positions:
        return torch.cat([*tokens, patches], dim=1) + position
    return torch.cat([*tokens, patches + position], dim=1)
