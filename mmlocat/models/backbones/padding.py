"""Zeros that make an image whole patches, also where its size is a symbol."""

from __future__ import annotations

from typing import Sequence, Tuple

import torch
from mmcv.cnn.bricks.transformer import AdaptivePadding
from torch import Tensor, nn
from torch.nn.functional import pad

from mmlocat.attention.recording import is_exporting


class PatchPadding(AdaptivePadding):
    """mmcv's padding, which can be exported for images of any size: it counts in whole numbers and need not branch."""

    def get_pad_shape(self, input_shape: Sequence[int]) -> Tuple[int, int]:
        """Returns how many rows and columns an image (H, W) lacks."""
        lacking = []
        for size, kernel, stride, dilation in zip(input_shape, self.kernel_size, self.stride, self.dilation):
            patches = (size + stride - 1) // stride  # no quotient of a negative number: ONNX rounds it the other way
            reach = (kernel - 1) * dilation + 1
            missing = (patches - 1) * stride + reach - size
            # Never negative unless patches leave gaps; without the maximum, symbols stay simple.
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
    """Gives mmcv's patch embedding our padding in place of its own, if it has one."""
    old = patch_embed.adaptive_padding
    if old is not None:
        patch_embed.adaptive_padding = PatchPadding(old.kernel_size, old.stride, old.dilation, old.padding)
