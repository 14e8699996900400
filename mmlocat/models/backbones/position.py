"""Resizes position embeddings to any grid, with antialiasing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mmlocat.attention.kernel import Grid
from mmlocat.attention.pytorch import is_exporting


def resize_position_embedding(embedding: Tensor, source: Grid, target: Grid, num_prefix_tokens: int,
                              mode: str = 'bicubic') -> Tensor:
    """Resizes the patch entries of a position embedding, with antialiasing and in float32.

    mmpretrain's function for this purpose has no antialiasing, but published ViTs are evaluated with it;
    the two differ by up to 0.33 on a 14 -> 32 resize.

    Args:
        embedding: Shape (1, P + H*W, C).
        source: Its grid (H, W).
        target: The wanted grid.
        num_prefix_tokens: P, the number of leading entries, which are kept unchanged.
        mode: 'bicubic' or 'bilinear', both antialiased, or another mode of ``interpolate``.

    Returns:
        Shape (1, P + H'*W', C), in the dtype of ``embedding``.

    Raises:
        ValueError: The number of entries is not P + H*W; or the model is exported, and ``mode`` has no form for any
            size.
    """
    entries = embedding.shape[1]
    if entries != num_prefix_tokens + source[0] * source[1]:
        raise ValueError(f'a position embedding of {entries} entries does not fit a grid of {tuple(source)} '
                         f'with {num_prefix_tokens} prefix entries; check img_size and patch_size')
    antialiased = mode in ('bicubic', 'bilinear')
    if is_exporting():
        if not antialiased:
            raise ValueError(f'interpolate_mode={mode!r} of the position embedding has no form for images of any size; '
                             "only 'bicubic' and 'bilinear' can be exported")
        return _resize_by_matrices(embedding, source, target, num_prefix_tokens, mode)
    if tuple(source) == tuple(target):
        return embedding
    prefix, patches = embedding[:, :num_prefix_tokens], embedding[:, num_prefix_tokens:]
    if antialiased and _needs_deterministic_gradient(embedding):
        return _resize_by_matrices(embedding, source, target, num_prefix_tokens, mode)
    image = patches.transpose(1, 2).unflatten(-1, tuple(source)).float()  # (1, C, H, W)
    image = interpolate(
        image,
        size=tuple(target),
        mode=mode,
        align_corners=False if antialiased else None,
        antialias=antialiased)
    return torch.cat([prefix, image.flatten(2).transpose(1, 2).to(embedding.dtype)], dim=1)


def _needs_deterministic_gradient(embedding: Tensor) -> bool:
    """Whether ``interpolate`` would raise in the backward pass, which is not deterministic on CUDA with antialiasing.

    True of PyTorch 2.1 to 2.14. When ``torch.use_deterministic_algorithms`` does not list it any more, this can go.
    """
    return embedding.is_cuda and embedding.requires_grad and torch.are_deterministic_algorithms_enabled()


def _resize_by_matrices(embedding: Tensor, source: Grid, target: Grid, num_prefix_tokens: int, mode: str) -> Tensor:
    """Resizes as ``interpolate`` with antialiasing does, by operations that ONNX has; the target may be symbolic."""
    prefix, patches = embedding[:, :num_prefix_tokens], embedding[:, num_prefix_tokens:]
    image = patches.float().reshape(source[0], -1)  # (H, W * C)
    rows, columns = (resize_matrix(length, size, image, mode) for length, size in zip(source, target))
    image = (rows @ image).view(target[0], source[1], -1)  # (H', W, C)
    image = torch.bmm(columns.expand(target[0], -1, -1), image).view(1, target[0] * target[1], -1)
    return torch.cat([prefix, image.to(embedding.dtype)], dim=1)


def resize_matrix(length: int, size: int, like: Tensor, mode: str = 'bicubic') -> Tensor:
    """Returns the matrix (size, length) that resizes one axis with antialiasing, as PIL and PyTorch do.

    Args:
        length: Number of entries along the axis now.
        size: Number of entries wanted; may be symbolic.
        like: A tensor with the wanted device and dtype.
        mode: 'bicubic', with PIL's a = -0.5, or 'bilinear'.
    """
    position = torch.arange(size, device=like.device, dtype=like.dtype)[:, None] + 0.5
    # Computed as a tensor, because the size may be symbolic.
    step = length / torch.ones_like(position).sum()
    offset = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5 - position * step
    x = (offset / step.clamp(min=1)).abs()  # when shrinking, the filter widens by the step
    if mode == 'bilinear':
        weights = (1 - x).clamp(min=0)
    else:
        near = (1.5 * x - 2.5) * x * x + 1
        far = ((-0.5 * x + 2.5) * x - 4) * x + 2
        weights = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    return weights / weights.sum(dim=1, keepdim=True)
