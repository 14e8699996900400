"""Defines the parts of LocAtSwin: window attention with GAug, blocks, stages, merging and stem, as published."""

from __future__ import annotations

from typing import Any, Optional, Sequence

import torch
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule
from mmpretrain.models.utils import WindowMSA
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from mmlocat.attention import GaussianAttention, GaussianKernel
from mmlocat.attention.kernel import Grid
from mmlocat.attention.vit.layers import split_heads

EPS = 1e-5


class WindowAttention(WindowMSA):
    """mmpretrain's window attention with GAug: the Gaussian lies on the window, beside the relative positions.

    Args:
        embed_dims: Channels.
        window_size: (height, width) of a window in tokens.
        num_heads: Heads.
        gaug: Whether queries predict Gaussians.
        attention_backend: See ``gaussian_attention``.
    """

    def __init__(self, embed_dims: int, window_size: Grid, num_heads: int, gaug: bool, attention_backend: str) -> None:
        super().__init__(embed_dims, window_size, num_heads)
        index = self.relative_position_index
        del self.relative_position_index  # it follows from the window; published checkpoints do not hold it
        self.register_buffer('relative_position_index', index, persistent=False)
        self.gaug = None
        if gaug:
            self.gaug = GaussianAttention(embed_dims // num_heads, GaussianKernel(window_size), num_prefix_tokens=0,
                                          backend=attention_backend)

    def position_bias(self) -> Tensor:
        """Returns what relative positions add to the logits of every window, shape (1, h, N, N)."""
        tokens = self.window_size[0] * self.window_size[1]
        table = self.relative_position_bias_table[self.relative_position_index.flatten()]
        return table.view(tokens, tokens, -1).permute(2, 0, 1).unsqueeze(0)

    def forward(self, x: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        """Attends within windows.

        Args:
            x: Windows of all images, shape (B * windows, N, C), N tokens a window.
            mask: Added to the logits, shape (B * windows, N, N); None where no window was shifted.

        Returns:
            Shape (B * windows, N, C).
        """
        query, key, value = split_heads(self.qkv(x), self.num_heads)
        bias = self.position_bias().to(query.dtype)
        if mask is not None:
            bias = bias + mask.unsqueeze(1).to(bias.dtype)
        if self.gaug is None:
            out = scaled_dot_product_attention(query, key, value, attn_mask=bias)
        else:
            out = self.gaug(query, key, value, self.window_size, bias=bias)
        return self.proj(out.transpose(1, 2).reshape(x.shape))


class SwinBlock(BaseModule):
    """A block of LocAtSwin: attention within windows, then an MLP, both on normalised tokens and with a residual.

    Args:
        embed_dims: Channels.
        num_heads: Heads.
        window: (height, width) of a window in tokens.
        shift: By how many rows and columns windows are shifted.
        mlp_ratio: Channels of the MLP's hidden layer by those of the block.
        drop_path_rate: Probability of leaving out a residual branch in training.
        gaug: Whether queries predict Gaussians.
        attention_backend: See ``gaussian_attention``.
    """

    def __init__(self, embed_dims: int, num_heads: int, window: Grid, shift: Grid, mlp_ratio: float,
                 drop_path_rate: float, gaug: bool, attention_backend: str) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(embed_dims, eps=EPS)
        self.attn = WindowAttention(embed_dims, window, num_heads, gaug, attention_backend)
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = nn.LayerNorm(embed_dims, eps=EPS)
        hidden = int(embed_dims * mlp_ratio)
        self.mlp = nn.Sequential()
        self.mlp.add_module('fc1', nn.Linear(embed_dims, hidden))
        self.mlp.add_module('act', nn.GELU())
        self.mlp.add_module('fc2', nn.Linear(hidden, embed_dims))

    def forward(self, x: Tensor) -> Tensor:
        """Runs the block on a map (B, H, W, C)."""
        x = x + self.drop_path(self._attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        """Rolls, pads to whole windows, attends in each, and undoes padding and roll: the published order."""
        batch, height, width, channels = x.shape
        (rows, columns), shifted = self.window, any(self.shift)
        down, across = whole_windows((height, width), self.window)
        mask = None
        if shifted:
            padded = (down * rows, across * columns)
            mask = shift_mask(padded, self.window, self.shift, x.device).repeat(batch, 1, 1)
        windows = self.attn(to_windows(x, self.window, self.shift), mask)
        x = windows.view(batch, down, across, rows, columns, channels).transpose(2, 3).reshape(
            batch, down * rows, across * columns, channels)
        x = x[:, :height, :width]
        return x.roll(self.shift, (1, 2)) if shifted else x


def whole_windows(size: Grid, window: Grid) -> Grid:
    """Returns how many windows cover a map of that (height, width), down and across."""
    # Without the remainder of a negative number, which an export for any size cannot bound.
    return (size[0] + window[0] - 1) // window[0], (size[1] + window[1] - 1) // window[1]


def to_windows(x: Tensor, window: Grid, shift: Grid) -> Tensor:
    """Rolls a map back by ``shift``, pads it with zeros to whole windows, and cuts it into them.

    Args:
        x: Shape (B, H, W, C).
        window: (height, width) of a window.
        shift: Rows and columns by which windows are shifted.

    Returns:
        Shape (B * windows, N, C), the windows of an image row by row, N tokens a window. Padded tokens are tokens like
        others.
    """
    batch, height, width, channels = x.shape
    (rows, columns), (down, across) = window, whole_windows((height, width), window)
    if any(shift):
        x = x.roll((-shift[0], -shift[1]), (1, 2))
    x = pad(x, (0, 0, 0, across * columns - width, 0, down * rows - height))
    return x.view(batch, down, rows, across, columns, channels).transpose(2, 3).reshape(-1, rows * columns, channels)


def shift_mask(size: Grid, window: Grid, shift: Grid, device: Any) -> Tensor:
    """Returns the mask that keeps apart what only the roll made neighbours.

    Args:
        size: (height, width) of the padded map.
        window: (height, width) of a window.
        shift: Rows and columns by which the map was rolled.
        device: Where to put the mask.

    Returns:
        0 or -100 for each query and key, shape (windows, N, N), windows row by row.
    """
    regions = []
    for length, side, step in zip(size, window, shift):
        # Three bands along an axis: what lies in whole windows, and the last window on either side of the seam.
        place = torch.arange(length, device=device)
        regions.append((place >= length - side).long() + (place >= length - step).long() * (step > 0))
    numbers = regions[0][:, None] * 3 + regions[1]
    down, across = size[0] // window[0], size[1] // window[1]
    numbers = numbers.view(down, window[0], across, window[1]).transpose(1, 2).reshape(down * across, -1)
    return (numbers[:, :, None] != numbers[:, None]).float() * -100


class PatchMerging(nn.Module):
    """Joins 2 x 2 tokens into one of twice the channels, at the start of a stage; odd maps are padded with zeros.

    Args:
        channels: Of the stage before.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels, eps=EPS)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Merges a map (B, H, W, C) to (B, H / 2, W / 2, 2 C), rounded up."""
        x = pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        # Down before across. mmpretrain (1.2.0 to 1.3.6) unfolds in another order, channel by channel.
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(parts, dim=-1)))


class SwinStage(nn.Module):
    """One stage: merging, except in the first, then blocks, of which every second shifts its windows."""

    def __init__(self, downsample: nn.Module, blocks: Sequence[SwinBlock]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)
        self.with_cp = False

    def forward(self, x: Tensor) -> Tensor:
        """Runs the stage on a map (B, H, W, C)."""
        x = self.downsample(x)
        recompute = self.with_cp and torch.is_grad_enabled()
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
        return x


class PatchStem(nn.Module):
    """Patches by a convolution, and a norm; images are padded right and bottom to whole patches."""

    def __init__(self, in_channels: int, embed_dims: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, patch_size)
        self.norm = nn.LayerNorm(embed_dims, eps=EPS)

    def forward(self, images: Tensor) -> Tensor:
        """Returns a map (B, H, W, C)."""
        side = self.proj.stride[0]
        rows, columns = ((length + side - 1) // side for length in images.shape[2:])
        images = pad(images, (0, columns * side - images.shape[3], 0, rows * side - images.shape[2]))
        return self.norm(self.proj(images).permute(0, 2, 3, 1))
