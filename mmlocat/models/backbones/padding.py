"""Pads an image with zeros to whole patches, also with a symbolic size during export."""

from __future__ import annotations

from typing import Sequence, Tuple

import torch
from mmcv.cnn.bricks.transformer import AdaptivePadding
from torch import Tensor, nn
from torch.nn.functional import pad

from mmlocat.attention.pytorch import is_exporting


class PatchPadding(AdaptivePadding):
    """Pads as mmcv does, and can be exported for images of any size: it uses integers and needs no branch."""

    def get_pad_shape(self, input_shape: Sequence[int]) -> Tuple[int, int]:
        """Returns the number of rows and columns to add to an image (H, W)."""
        lacking = []
        for size, kernel, stride, dilation in zip(input_shape, self.kernel_size, self.stride, self.dilation):
            patches = (size + stride - 1) // stride  # never divides a negative number, which ONNX rounds differently
            reach = (kernel - 1) * dilation + 1
            missing = (patches - 1) * stride + reach - size
            # Negative only if patches leave gaps; leaving out the maximum keeps symbolic sizes simple.
            lacking.append(missing if reach >= stride else torch.sym_max(missing, 0))
        return tuple(lacking)

    def forward(self, x: Tensor) -> Tensor:
        """Pads images (B, C, H, W) right and bottom; 'same' padding pads all around."""
        rows, columns = self.get_pad_shape(x.shape[-2:])
        if not is_exporting() and not (rows > 0 or columns > 0):
            return x
        top, left = (rows // 2, columns // 2) if self.padding == 'same' else (0, 0)
        return pad(x, (left, columns - left, top, rows - top))


def pad_to_patches(patch_embed: nn.Module) -> None:
    """Replaces the padding of mmcv's patch embedding, if it has one, by ``PatchPadding``."""
    old = patch_embed.adaptive_padding
    if old is not None:
        patch_embed.adaptive_padding = PatchPadding(old.kernel_size, old.stride, old.dilation, old.padding)
