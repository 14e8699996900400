"""Implements PRR: one parameter-free self-attention by which gradients of an image-level loss reach every patch."""

from __future__ import annotations

from typing import Optional

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .dense import attention_weights
from .pytorch import merge_heads


def refine_patches(tokens: Tensor, num_heads: int) -> Tensor:
    """Patch representation refinement: per head, ``softmax(x x^T / sqrt(d)) x``.

    Query, key and value are the tokens themselves; there are no projections, no residual and no
    norm. It follows the final norm and precedes the classification head; segmentation features are
    taken before it. Source: *Locality-Attending Vision Transformer* (arXiv 2603.04892), PRR.

    Args:
        tokens: Shape (B, N, C), all tokens, prefix ones included.
        num_heads: h, which must divide C.

    Returns:
        Shape (B, N, C).

    Raises:
        ValueError: ``tokens`` is not three-dimensional, or ``num_heads`` does not divide C.
    """
    heads = _split_heads(tokens, num_heads)
    return merge_heads(scaled_dot_product_attention(heads, heads, heads))


def refinement_weights(tokens: Tensor, num_heads: int, queries: Optional[Tensor] = None) -> Tensor:
    """Returns the attention weights of PRR, ``softmax(x x^T / sqrt(d))``, for visualization.

    Args:
        tokens: As for ``refine_patches``.
        num_heads: Likewise.
        queries: Indices of the tokens whose rows alone are returned, 0 for CLS; by default all.

    Returns:
        Shape (B, h, N, N), or (B, h, Q, N).

    Raises:
        ValueError: As ``refine_patches``.
    """
    heads = _split_heads(tokens, num_heads)
    return attention_weights(heads if queries is None else heads[:, :, queries], heads, scale=heads.shape[-1]**-0.5)


def _split_heads(tokens: Tensor, num_heads: int) -> Tensor:
    """Returns tokens (B, N, C) as (B, h, N, d)."""
    if tokens.dim() != 3:
        raise ValueError(f'tokens must have shape (B, N, C), got {tuple(tokens.shape)}')
    channels = tokens.shape[-1]
    if num_heads < 1 or channels % num_heads:
        raise ValueError(f'num_heads={num_heads} does not divide the {channels} channels of the tokens')
    return tokens.unflatten(-1, (num_heads, channels // num_heads)).transpose(1, 2)
