"""Holds what a model's blocks computed for one image, and gives attention rows, Gaussians and distances as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from mmlocat.attention import GaussianKernel, attention_weights
from mmlocat.attention.dense import gaussian_bias
from mmlocat.attention.kernel import Grid

Patch = Tuple[int, int]  # row and column of a patch


class AttentionRow(NamedTuple):
    """The weights of all patches in the attention of one query patch, per head, shape (h, H, W).

    Args:
        without_gaug: With S left out.
        with_gaug: With S; None where the block has no GAug.
    """

    without_gaug: np.ndarray
    with_gaug: Optional[np.ndarray] = None

    @property
    def difference(self) -> Optional[np.ndarray]:
        """Weights with GAug minus those without; None where the block has no GAug."""
        return None if self.with_gaug is None else self.with_gaug - self.without_gaug


@dataclass(frozen=True, eq=False)
class BlockMaps:
    """One block's attention for one image.

    Args:
        index: The block's number, from 0.
        grid: Patches (H, W); those of a later stage of a hierarchical backbone are fewer and larger.
        patch_size: Height and width of a patch in px.
        num_prefix_tokens: P, class and register tokens before the patches.
        has_class_token: Whether the first of them is a class token.
        scale: Factor on q k^T.
        query: Shape (h, N, d).
        key: Shape (h, N, d).
        tokens: The block's output, shape (N, C).
        bias: What is added to the logits beside S, such as that of relative positions, shape (h, N, N).
        kernel: Constants of the pretraining grid; None for a block without GAug, like ``variance``.
        variance: Shape (h, H*W, 2), squared patches, rows first.
        scales: Alpha, shape (h, H*W, 1).
    """

    index: int
    grid: Grid
    patch_size: Tuple[int, int]
    num_prefix_tokens: int
    has_class_token: bool
    scale: float
    query: Tensor
    key: Tensor
    tokens: Tensor
    bias: Optional[Tensor] = None
    kernel: Optional[GaussianKernel] = None
    variance: Optional[Tensor] = None
    scales: Optional[Tensor] = None

    @property
    def has_gaug(self) -> bool:
        """Whether the block adds Gaussians to its logits."""
        return self.kernel is not None

    @property
    def num_heads(self) -> int:
        """Number of heads h."""
        return len(self.query)

    @property
    def reach(self) -> Optional[np.ndarray]:
        """Whole numbers from 1, (H, W), the same for patches that see each other; None where all do."""
        return None

    @property
    def sigma(self) -> Optional[np.ndarray]:
        """Standard deviation of each patch's Gaussian, in patches: (h, H, W, 2), vertical first; None without GAug.

        The square root of the predicted variance; the exponent divides by variance + eps (eps is 0.1 for small grids).
        """
        return None if self.variance is None else self._by_patch(self.variance.sqrt()).cpu().numpy()

    @property
    def alpha(self) -> Optional[np.ndarray]:
        """Scale of each patch's Gaussian, in units of an attention logit: (h, H, W); None without GAug."""
        return None if self.scales is None else self._by_patch(self.scales)[..., 0].cpu().numpy()

    def _by_patch(self, values: Tensor) -> Tensor:
        """Returns values of patches, such as ``variance``, as (h, H, W, ...)."""
        return values.unflatten(1, self.grid)

    def _weights(self, patches: Tensor, with_gaug: bool) -> Tensor:
        """Returns the rows of the attention matrix that belong to patches, given their numbers, (h, Q, N)."""
        tokens = self.num_prefix_tokens + patches
        added = None if self.bias is None else self.bias[:, tokens]
        if with_gaug:
            gaussians = gaussian_bias(self.variance[None], self.scales[None], self.kernel, self.grid,
                                      self.num_prefix_tokens, patches)[0]
            added = gaussians if added is None else gaussians + added
        return attention_weights(self.query[:, tokens], self.key, added, scale=self.scale)

    def attention(self, patch: Patch) -> AttentionRow:
        """Returns what a query patch attends to.

        Args:
            patch: Its row and column.

        Raises:
            ValueError: It lies outside the grid.
        """
        (row, column), (height, width) = patch, self.grid
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(f'patch {tuple(patch)} (row, column) lies outside the grid of {height} rows and '
                             f'{width} columns')
        number = torch.tensor([row * width + column], device=self.query.device)
        rows = [self._weights(number, with_gaug)[:, 0, self.num_prefix_tokens:].unflatten(1, self.grid).cpu().numpy()
                for with_gaug in ((False, True) if self.has_gaug else (False, ))]
        return AttentionRow(*rows)

    def ellipse(self, head: int, patch: Patch) -> Tuple[float, float, float, float]:
        """Returns the one-sigma ellipse of a patch's Gaussian in one head, in px of the image that went in.

        Args:
            head: From 0.
            patch: Row and column.

        Returns:
            x and y of its centre, and sigma along x and along y.

        Raises:
            TypeError: The block has no GAug.
        """
        (height, width), (down, across) = self.patch_size, self.sigma[head][patch].tolist()
        return (patch[1] + 0.5) * width, (patch[0] + 0.5) * height, across * width, down * height

    def mean_distance(self, with_gaug: bool) -> np.ndarray:
        """Returns the mean attention distance of each head.

        The Euclidean distance between a query patch and the patches it attends to, weighted by attention, over all
        query patches. Prefix tokens have no position: their weights are left out and the rest is rescaled to sum to 1.
        Source: *An Image is Worth 16x16 Words* (arXiv 2010.11929), "attention distance", there in px.

        Args:
            with_gaug: Whether S is added.

        Returns:
            Shape (h,), in patches.

        Raises:
            TypeError: S is asked for, and the block has no GAug.
        """
        numbers = torch.arange(self.grid[0] * self.grid[1], device=self.query.device)
        position = torch.stack([numbers // self.grid[1], numbers % self.grid[1]], dim=-1).to(self.query.dtype)
        total = torch.zeros(self.num_heads, device=self.query.device)
        for queries in numbers.split(self.grid[1]):  # a row of patches, since the whole matrix may be large
            weights = self._weights(queries, with_gaug)[..., self.num_prefix_tokens:]
            distances = torch.cdist(position[queries], position)
            total += ((weights * distances).sum(-1) / weights.sum(-1)).sum(-1)
        return (total / len(numbers)).cpu().numpy()


@dataclass(frozen=True, eq=False)
class Maps:
    """The results of all of a model's blocks for one image.

    Args:
        blocks: From the first to the last.
        grid: Patches (H, W) that the image was cut into.
        patch_size: Height and width of such a patch in px.
    """

    blocks: List[BlockMaps]
    grid: Grid
    patch_size: Tuple[int, int]

    def patch_of(self, block: BlockMaps, patch: Patch) -> Patch:
        """Returns the patch of a block, whose grid may be coarser, that holds a patch of the image."""
        (row, column), (height, width) = patch, self.patch_size
        return row * height // block.patch_size[0], column * width // block.patch_size[1]
