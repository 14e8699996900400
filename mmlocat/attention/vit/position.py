"""Resizes position embeddings to any grid: with antialiasing, as PIL and PyTorch do, or as DINO's code does."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mmlocat.attention.kernel import Grid
from mmlocat.attention.pytorch import is_exporting


def resize_position_embedding(embedding: Tensor, source: Grid, target: Grid, num_prefix_tokens: int,
                              mode: str = 'bicubic') -> Tensor:
    """Resizes the patch entries of a position embedding: bicubic, with antialiasing and in float32.

    mmpretrain's function for this purpose has no antialiasing, but published ViTs are evaluated with it; the two differ
    by up to 0.33 on a 14 -> 32 resize. Two matrices resize the two axes: PyTorch's antialiased ``interpolate``, which
    gives the same numbers, has no deterministic gradient on CUDA and no form in ONNX for any size.

    Args:
        embedding: Shape (1, P + H*W, C).
        source: Its grid (H, W).
        target: The wanted grid; symbolic in an export.
        num_prefix_tokens: P, the number of leading entries, which are kept unchanged.
        mode: 'bicubic', or 'dino': without antialiasing, by the factor (H' + 0.1) / H, as DINO's code does; it has no
            form in ONNX.

    Returns:
        Shape (1, P + H'*W', C), in the dtype of ``embedding``.

    Raises:
        ValueError: The number of entries is not P + H*W.
    """
    entries = embedding.shape[1]
    if entries != num_prefix_tokens + source[0] * source[1]:
        raise ValueError(f'a position embedding of {entries} entries does not fit a grid of {tuple(source)} '
                         f'with {num_prefix_tokens} prefix entries; check img_size and patch_size')
    if not is_exporting() and tuple(source) == tuple(target):
        return embedding
    prefix, patches = embedding[:, :num_prefix_tokens], embedding[:, num_prefix_tokens:]
    if mode == 'dino':
        image = patches.transpose(1, 2).unflatten(-1, tuple(source)).float()
        factors = tuple((new + 0.1) / old for old, new in zip(source, target))
        image = interpolate(image, scale_factor=factors, mode='bicubic', align_corners=False)
        return torch.cat([prefix, image.flatten(2).transpose(1, 2).to(embedding.dtype)], dim=1)
    image = patches.float().reshape(source[0], -1)  # (H, W * C)
    rows, columns = (resize_matrix(length, size, image) for length, size in zip(source, target))
    image = (rows @ image).view(target[0], source[1], -1)  # (H', W, C)
    image = torch.bmm(columns.expand(target[0], -1, -1), image).view(1, target[0] * target[1], -1)
    return torch.cat([prefix, image.to(embedding.dtype)], dim=1)


def resize_matrix(length: int, size: int, like: Tensor) -> Tensor:
    """Returns the matrix (size, length) that resizes one axis, with the device and dtype of ``like``."""
    position = torch.arange(size, device=like.device, dtype=like.dtype)[:, None] + 0.5
    # Computed as a tensor, because the size may be symbolic.
    step = length / torch.ones_like(position).sum()
    offset = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5 - position * step
    x = (offset / step.clamp(min=1)).abs()  # when shrinking, the filter widens by the step
    near = (1.5 * x - 2.5) * x * x + 1  # the cubic filter with PIL's a = -0.5
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    return weights / weights.sum(dim=1, keepdim=True)
