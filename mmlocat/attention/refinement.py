"""PRR: one parameter-free self-attention that lets gradient reach every patch."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .recording import merge_heads


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
    if tokens.dim() != 3:
        raise ValueError(f'tokens must have shape (B, N, C), got {tuple(tokens.shape)}')
    channels = tokens.shape[-1]
    if num_heads < 1 or channels % num_heads:
        raise ValueError(f'num_heads={num_heads} does not divide the {channels} channels of the tokens')
    heads = tokens.unflatten(-1, (num_heads, channels // num_heads)).transpose(1, 2)  # (B, h, N, d)
    return merge_heads(scaled_dot_product_attention(heads, heads, heads))
