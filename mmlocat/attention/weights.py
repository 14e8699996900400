"""Computes the matrix of attention weights, which fused attention never forms."""

from __future__ import annotations

from typing import Optional

from torch import Tensor


def attention_weights(query: Tensor, key: Tensor, bias: Optional[Tensor] = None, *, scale: float) -> Tensor:
    """Computes ``softmax(q k^T * scale + S)``: what the dense back-end multiplies the values by.

    Args:
        query: Shape (B, h, Q, d); some of the tokens, or all.
        key: Shape (B, h, N, d).
        bias: S of these queries, shape (B, h, Q, N), from ``dense.gaussian_bias``; None for plain attention.
        scale: Factor on q k^T.

    Returns:
        Shape (B, h, Q, N); every row sums to 1.
    """
    logits = query @ key.transpose(-2, -1) * scale
    return (logits if bias is None else logits + bias).softmax(dim=-1)
