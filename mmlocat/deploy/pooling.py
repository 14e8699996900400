"""Computes adaptive average pooling of maps of any size, which ONNX lacks, by products with two small matrices."""

from __future__ import annotations

from typing import Optional, Tuple, Union

import torch
from torch import Tensor, nn


class PoolingByMatrices(nn.Module):
    """Computes what ``nn.AdaptiveAvgPool2d`` does, by one matrix product along each axis.

    Args:
        output_size: As ``nn.AdaptiveAvgPool2d`` takes it; None keeps the length of an axis.
    """

    def __init__(self, output_size: Union[int, Tuple[Optional[int], Optional[int]]]) -> None:
        super().__init__()
        self.output_size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Pools maps (B, C, H, W)."""
        for axis, size in zip((-2, -1), self.output_size):
            if size is not None:
                x = (x.transpose(-1, axis) @ _windows(x.shape[axis], size, x)).transpose(-1, axis)
        return x


def _windows(length: int, size: int, like: Tensor) -> Tensor:
    """Returns the matrix (length, size) whose columns average from floor(i L / S) up to ceil((i + 1) L / S)."""
    place = torch.arange(length, device=like.device)[:, None]
    number = torch.arange(size, device=like.device)
    # Written without a division: a place lies in the window if it ends after its beginning and begins before its end.
    inside = ((place + 1) * size > number * length) & (place * size < (number + 1) * length)
    weights = inside.to(like.dtype)
    return weights / weights.sum(dim=0, keepdim=True)


def make_pooling_exportable(model: nn.Module) -> nn.Module:
    """Replaces adaptive average pooling in place, except to one value: that is a mean, which ONNX has."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size not in (1, (1, 1)):
                setattr(module, name, PoolingByMatrices(child.output_size))
    return model
