"""Computes single-number measures of attention and features (distance, similarity, rank), in pure PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmlocat.attention.kernel import Grid


def attention_distance(weights: Tensor, queries: Tensor, grid: Grid) -> Tensor:
    """Mean Euclidean distance between a query patch and the patches it attends to, weighted by attention.

    Prefix tokens have no position: their weights are left out and the rest is rescaled to sum to 1. Source: *An Image
    is Worth 16x16 Words* (arXiv 2010.11929), "attention distance", there in px.

    Args:
        weights: Attention weights of patches, shape (..., Q, H*W).
        queries: Indices of the Q query patches, row-major.
        grid: Patches (H, W).

    Returns:
        Shape (..., Q), in patches.
    """
    numbers = torch.arange(grid[0] * grid[1], device=weights.device)
    position = torch.stack([numbers // grid[1], numbers % grid[1]], dim=-1).to(weights.dtype)  # (HW, 2)
    distance = torch.cdist(position[queries], position)  # (Q, HW)
    return (weights * distance).sum(-1) / weights.sum(-1)


def class_similarity(tokens: Tensor, num_prefix_tokens: int) -> Tensor:
    """Mean cosine similarity between the patch tokens and the class token.

    Args:
        tokens: Shape (B, N, C), class token first.
        num_prefix_tokens: P, at least 1.

    Returns:
        Shape (B,).
    """
    unit = normalize(tokens, dim=-1)
    return (unit[:, num_prefix_tokens:] @ unit[:, 0, :, None]).mean(dim=(1, 2))


def patch_similarity(patches: Tensor) -> Tensor:
    """Mean cosine similarity between two different patch tokens of an image.

    Args:
        patches: Shape (B, H*W, C), with at least two patches.

    Returns:
        Shape (B,).
    """
    count = patches.shape[1]
    total = normalize(patches, dim=-1).sum(dim=1).square().sum(-1)  # over all pairs, including each patch with itself
    return (total - count) / (count * (count - 1))


def effective_rank(patches: Tensor) -> Tensor:
    """Effective rank: how many directions the patch tokens of an image spread over, after subtracting their mean.

    The exponential of the entropy of the singular values, scaled to sum to 1. Source: Roy and Vetterli, *The effective
    rank* (EUSIPCO 2007).

    Args:
        patches: Shape (B, H*W, C).

    Returns:
        Shape (B,), from 1 to min(H*W - 1, C); 1 where all patches are equal.
    """
    values = torch.linalg.svdvals(patches - patches.mean(dim=1, keepdim=True))
    share = values / values.sum(-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
    return torch.special.entr(share).sum(-1).exp()
