"""Computes the equation as the paper prints it, with every N x N tensor; the other back-ends are tested against it."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from .calls import Request
from .kernel import GaussianKernel, Grid
from .pytorch import at_least_float32, without_autocast


def can_run(request: Request) -> Optional[str]:
    """Returns None, because this back-end can take every call."""
    return None


def gaussian_bias(variance: Tensor, alpha: Tensor, kernel: GaussianKernel, grid: Grid, num_prefix_tokens: int,
                  queries: Optional[Tensor] = None) -> Tensor:
    """Builds the matrix S that GAug adds to the attention logits.

    Args:
        variance: Shape (B, h, H*W, 2), in squared patches, rows first.
        alpha: Shape (B, h, H*W, 1).
        kernel: The constants of the pretraining grid.
        grid: The patch grid (H, W).
        num_prefix_tokens: P, the tokens before the patches; their rows and columns are zero.
        queries: Indices of Q patches, row-major, whose rows alone are returned; by default the rows of all N tokens.

    Returns:
        Shape (B, h, N, N) with N = P + H*W, or (B, h, Q, N).
    """
    height, width = grid
    rows, columns = torch.meshgrid(
        torch.arange(height, device=variance.device),
        torch.arange(width, device=variance.device),
        indexing='ij')
    position = torch.stack([rows.flatten(), columns.flatten()], dim=-1).to(variance.dtype)  # (HW, 2)
    from_position, prefix_rows = position, num_prefix_tokens
    if queries is not None:
        from_position, prefix_rows = position[queries], 0
        variance, alpha = variance[:, :, queries], alpha[:, :, queries]
    distance = (from_position[:, None] - position[None, :]).square()  # (HW, HW, 2), or (Q, HW, 2)
    distance = distance.clamp(max=kernel.max_squared_distance)
    exponent = distance / (variance[:, :, :, None, :] + kernel.eps)  # (B, h, HW, HW, 2)
    patches = alpha * torch.exp(-0.5 * exponent.sum(dim=-1))  # (B, h, HW, HW)
    return torch.nn.functional.pad(patches, (num_prefix_tokens, 0, prefix_rows, 0))


def attention_weights(query: Tensor, key: Tensor, bias: Optional[Tensor] = None, *, scale: float) -> Tensor:
    """Computes ``softmax(q k^T * scale + S)``, which fused attention never forms.

    Args:
        query: Shape (B, h, Q, d); some of the tokens, or all.
        key: Shape (B, h, N, d).
        bias: S of these queries, shape (B, h, Q, N), from ``gaussian_bias``; None for plain attention.
        scale: Factor on q k^T.

    Returns:
        Shape (B, h, Q, N); every row sums to 1.
    """
    logits = query @ key.transpose(-2, -1) * scale
    return (logits if bias is None else logits + bias).softmax(dim=-1)


def attend(query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor, *, kernel: GaussianKernel,
           grid: Grid, num_prefix_tokens: int, scale: float, dropout_p: float,
           bias: Optional[Tensor] = None) -> Tensor:
    """Computes softmax(q k^T * scale + S + bias) v in float32 or wider even in autocast; see ``gaussian_attention``."""
    with without_autocast(query):
        query_, key_, value_, variance, alpha = map(at_least_float32, (query, key, value, variance, alpha))
        added = gaussian_bias(variance, alpha, kernel, grid, num_prefix_tokens)
        if bias is not None:
            added = added + bias
        weights = attention_weights(query_, key_, added, scale=scale)
        probabilities = torch.nn.functional.dropout(weights, dropout_p)
        return (probabilities @ value_.to(probabilities.dtype)).to(query.dtype)
