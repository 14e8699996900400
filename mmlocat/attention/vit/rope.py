"""Rotates queries and keys by learned mixed frequencies: the rotary position embedding of the paper's RoPE ViT."""

from __future__ import annotations

import math
from typing import Iterable

import torch
from torch import Tensor, nn

from mmlocat.attention.kernel import Grid


class MixedRope(nn.Module):
    """Frequencies of every block, head and pair of channels, for columns and rows.

    Source: RoPE for vision transformers, mixed frequencies (arXiv 2403.13298); paper, table of results, LocAtViT with
    RoPE. Positions are whole numbers from 0 on any grid; they are not rescaled.

    Args:
        kind: 'mixed', the only one.
        num_layers: Blocks.
        num_heads: Heads of a block.
        embed_dims: Channels of all heads; d, those of one, must be divisible by 4.

    Raises:
        ValueError: There is no such kind, or d is not divisible by 4.
    """

    def __init__(self, kind: str, num_layers: int, num_heads: int, embed_dims: int) -> None:
        super().__init__()
        head_dims = embed_dims // num_heads
        if kind != 'mixed':
            raise ValueError(f"rope must be 'mixed' or None, got {kind!r}")
        if head_dims % 4:
            raise ValueError(f"rope='mixed' needs channels of a head that are divisible by 4, got {head_dims}")
        self.freqs = nn.Parameter(torch.zeros(2, num_layers, num_heads, head_dims // 2))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws one direction for each block and head; magnitudes fall from 1 to 1 / 10 in steps by channel."""
        _, layers, heads, pairs = self.freqs.shape
        magnitude = 10 ** (-4 * torch.arange(pairs // 2, device='cpu') / (2 * pairs))
        angle = 2 * math.pi * torch.rand(layers, heads, 1, device='cpu')
        quarter = math.pi / 2
        with torch.no_grad():
            for part, function in zip(self.freqs, (torch.cos, torch.sin)):
                part.copy_(torch.cat([magnitude * function(angle), magnitude * function(angle + quarter)], dim=-1))

    def start(self, layers: Iterable[nn.Module]) -> None:
        """Draws frequencies, and makes deeper blocks start smaller, as the published RoPE models do."""
        self.reset_parameters()
        for number, layer in enumerate(layers, 1):
            for last in (layer.attn.proj, layer.ffn.layers[1]):
                last.weight.data.div_(math.sqrt(2 * number))

    def angles(self, layer: int, grid: Grid) -> Tensor:
        """Returns the angles of one block's patches.

        Args:
            layer: Its number, from 0.
            grid: The patch grid (H, W).

        Returns:
            Shape (h, H*W, d / 2), in radians, in float32.
        """
        height, width = grid
        columns, rows = self.freqs[:, layer].float()[:, :, None, None]  # (h, 1, 1, d / 2)
        # One axis at a time: a remainder by the width could not be exported for images of any size.
        down, across = (torch.arange(side, device=self.freqs.device).float() for side in (height, width))
        return (columns * across[:, None] + rows * down[:, None, None]).flatten(1, 2)


def rotate(x: Tensor, angles: Tensor, num_prefix_tokens: int) -> Tensor:
    """Rotates pairs of channels (2j, 2j + 1) of patches; prefix tokens stay as they are.

    Args:
        x: Queries or keys, shape (B, h, N, d), prefix tokens first.
        angles: Of patches, shape (h, N - P, d / 2).
        num_prefix_tokens: P.

    Returns:
        Shape and dtype of ``x``.
    """
    patches = x[:, :, num_prefix_tokens:].float()
    cosine, sine = angles.cos(), angles.sin()
    even, odd = patches[..., ::2], patches[..., 1::2]
    rotated = torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1).flatten(-2)
    return torch.cat([x[:, :, :num_prefix_tokens], rotated.to(x.dtype)], dim=2)
