"""Holds what a block of a Swin Transformer computed within its windows, and puts it where they lie on the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from mmlocat.attention import attention_weights
from mmlocat.attention.dense import gaussian_bias
from mmlocat.attention.kernel import Grid
from mmlocat.models.backbones.swin_layers import SwinBlock, shift_mask, to_windows, whole_windows

from .blocks import BlockMaps

_WINDOWS_AT_ONCE = 256  # bounds the memory of a mean over all windows


class Windows(NamedTuple):
    """Where a block's windows lie on its map of H x W patches.

    Args:
        side: (height, width) of a window in patches.
        places: The patch at each token of each window, row-major from 1, or 0 for a padded token; (windows, N).
        reach: Whole numbers from 1, the same for patches that see each other, which not all of a shifted window do;
            (H, W).
    """

    side: Grid
    places: Tensor
    reach: Tensor


def lay_windows(block: SwinBlock, grid: Grid, device: torch.device) -> Windows:
    """Finds where a block's windows lie, by sending the patches' numbers the way of its tokens.

    Args:
        block: The block.
        grid: (H, W) of its map.
        device: Where to put the tensors.
    """
    height, width = grid
    numbers = torch.arange(1, height * width + 1, device=device)
    places = to_windows(numbers.view(1, height, width, 1), block.window, block.shift)[..., 0]
    count, tokens = places.shape
    padded = tuple(number * side for number, side in zip(whole_windows(grid, block.window), block.window))
    # The first token that a token sees stands for all that see each other; the mask is 0 where they do.
    first = (shift_mask(padded, block.window, block.shift, device) == 0).int().argmax(-1)
    groups = 1 + tokens * torch.arange(count, device=device)[:, None] + first
    reach = torch.zeros(height * width, dtype=torch.long, device=device)
    reach[places[places > 0] - 1] = groups[places > 0]
    return Windows(block.window, places, reach.view(height, width))


@dataclass(frozen=True, eq=False)
class WindowMaps(BlockMaps):
    """One block's attention within windows for one image, laid out on the block's own map of patches.

    A patch attends to none outside its window, so its weights there are 0. Padded tokens are keys like others, but no
    patches: where a window has some, the weights of its patches sum to less than 1.

    Args:
        query: Shape (windows, h, N, d), N tokens a window.
        key: Likewise.
        bias: Relative positions and mask, shape (windows, h, N, N).
        variance: Shape (windows, h, N, 2), squared patches, rows first; None for a block without GAug.
        scales: Alpha, shape (windows, h, N, 1).
        windows: Where they lie.
    """

    windows: Optional[Windows] = None  # always given; a default must follow those of the parent

    @property
    def num_heads(self) -> int:
        """Number of heads h."""
        return self.query.shape[1]

    @property
    def reach(self) -> np.ndarray:
        """Whole numbers from 1, (H, W), the same for patches that see each other."""
        return self.windows.reach.cpu().numpy()

    def _slots(self) -> Tuple[Tensor, Tensor]:
        """Returns the window of every patch, (H*W,), and its number within that window."""
        places = self.windows.places
        slots = places.flatten().argsort()[-self.grid[0] * self.grid[1]:]  # padded tokens, 0, come first
        return slots // places.shape[1], slots % places.shape[1]

    def _by_patch(self, values: Tensor) -> Tensor:
        window, token = self._slots()
        return values[window, :, token].transpose(0, 1).unflatten(1, self.grid)

    def _in_windows(self, numbers: Tensor, with_gaug: bool) -> Tensor:
        """Returns the attention matrices of windows, given their numbers, (windows, h, N, N)."""
        added = self.bias[numbers]
        if with_gaug:
            added = added + gaussian_bias(self.variance[numbers], self.scales[numbers], self.kernel, self.windows.side,
                                          self.num_prefix_tokens)
        return attention_weights(self.query[numbers], self.key[numbers], added, scale=self.scale)

    def _weights(self, patches: Tensor, with_gaug: bool) -> Tensor:
        """Returns the weights of all patches in the attention of some, given their numbers, (h, Q, H*W)."""
        window, token = (part[patches] for part in self._slots())
        queries = torch.arange(len(patches), device=patches.device)
        rows = self._in_windows(window, with_gaug)[queries, :, token].transpose(0, 1)
        spread = rows.new_zeros(*rows.shape[:2], self.grid[0] * self.grid[1] + 1)
        places = self.windows.places[window].expand_as(rows)
        return spread.scatter_(2, places, rows)[..., 1:]  # what padded tokens get is dropped with the first

    def mean_distance(self, with_gaug: bool) -> np.ndarray:
        """Returns the mean attention distance of each head, in the block's own patches; see ``BlockMaps``."""
        places, width = self.windows.places, self.grid[1]
        position = torch.stack([(places - 1) // width, (places - 1) % width], dim=-1).to(self.query.dtype)
        total = torch.zeros(self.num_heads, device=self.query.device)
        for numbers in torch.arange(len(places), device=places.device).split(_WINDOWS_AT_ONCE):
            there = places[numbers] > 0
            weights = self._in_windows(numbers, with_gaug) * there[:, None, None]
            distances = torch.cdist(position[numbers], position[numbers])[:, None]
            means = (weights * distances).sum(-1) / weights.sum(-1)
            total += means.where(there[:, None], torch.zeros_like(means)).sum((0, 2))
        return (total / (self.grid[0] * width)).cpu().numpy()
