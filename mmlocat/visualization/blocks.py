"""Holds what a model's blocks computed for one image, and gives attention rows, Gaussians and distances as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from mmlocat.attention import GaussianKernel, attention_weights
from mmlocat.attention.dense import gaussian_bias
from mmlocat.attention.kernel import Grid

from .measures import attention_distance

Patch = Tuple[int, int]  # row and column of a patch
_CHUNK = 1 << 24  # entries of the largest matrix of weights that is held at once


class AttentionRow(NamedTuple):
    """The attention weights of one query patch, per head.

    Args:
        without_gaug: Weights of all patches, shape (h, H, W), with S left out.
        with_gaug: The same with S; None where the block has no GAug.
        prefix_without_gaug: Weights of the prefix tokens, shape (h, P); with the patches' weights a row sums to 1.
        prefix_with_gaug: The same with S; None where the block has no GAug.
    """

    without_gaug: np.ndarray
    with_gaug: Optional[np.ndarray]
    prefix_without_gaug: np.ndarray
    prefix_with_gaug: Optional[np.ndarray]

    @property
    def difference(self) -> Optional[np.ndarray]:
        """Weights with GAug minus those without, shape (h, H, W); None where the block has no GAug."""
        return None if self.with_gaug is None else self.with_gaug - self.without_gaug

    @property
    def computed(self) -> np.ndarray:
        """The row that the model computes: with GAug where the block has it."""
        return self.without_gaug if self.with_gaug is None else self.with_gaug


@dataclass(frozen=True, eq=False)
class BlockMaps:
    """One block's attention for one image.

    Args:
        index: The block's number, from 0.
        grid: Patches (H, W).
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
    _distances: Dict[bool, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def has_gaug(self) -> bool:
        """Whether the block adds Gaussians to its logits."""
        return self.kernel is not None

    @property
    def num_heads(self) -> int:
        """Number of heads h."""
        return len(self.query)

    @property
    def sigma(self) -> Optional[np.ndarray]:
        """Standard deviation of each patch's Gaussian, in patches: (h, H, W, 2), vertical first; None without GAug.

        The square root of the predicted variance; the exponent divides by variance + eps (eps is 0.1 for small grids).
        """
        return None if self.variance is None else self.variance.sqrt().unflatten(1, self.grid).cpu().numpy()

    @property
    def alpha(self) -> Optional[np.ndarray]:
        """Scale of each patch's Gaussian, in units of an attention logit: (h, H, W); None without GAug."""
        return None if self.scales is None else self.scales[..., 0].unflatten(1, self.grid).cpu().numpy()

    def _numbers(self, patches: Sequence[Patch]) -> Tensor:
        for patch in patches:
            row, column = patch
            if not (0 <= row < self.grid[0] and 0 <= column < self.grid[1]):
                raise ValueError(f'patch {tuple(patch)} (row, column) lies outside the grid of {self.grid[0]} rows and '
                                 f'{self.grid[1]} columns')
        return torch.tensor([row * self.grid[1] + column for row, column in patches], device=self.query.device)

    def _weights(self, numbers: Tensor, with_gaug: bool) -> Tensor:
        """Returns the rows of the attention matrix that belong to patches, (h, Q, N)."""
        gaussians = None
        if with_gaug:
            gaussians = gaussian_bias(self.variance[None], self.scales[None], self.kernel, self.grid,
                                      self.num_prefix_tokens, numbers)[0]
        return self._rows(self.num_prefix_tokens + numbers, gaussians)

    def _rows(self, tokens: Tensor, gaussians: Optional[Tensor] = None) -> Tensor:
        """Returns the rows of the attention matrix that belong to tokens, (h, Q, N), given their rows of S."""
        added = [part for part in (gaussians, None if self.bias is None else self.bias[:, tokens]) if part is not None]
        return attention_weights(self.query[:, tokens], self.key, sum(added) if added else None, scale=self.scale)

    def attention(self, patch: Patch) -> AttentionRow:
        """Returns what a query patch attends to.

        Args:
            patch: Its row and column.

        Raises:
            ValueError: It lies outside the grid.
        """
        numbers = self._numbers([patch])
        rows = [self._weights(numbers, with_gaug)[:, 0] if self.has_gaug or not with_gaug else None
                for with_gaug in (False, True)]
        prefix = self.num_prefix_tokens
        patches = [None if row is None else row[:, prefix:].unflatten(1, self.grid).cpu().numpy() for row in rows]
        prefixes = [None if row is None else row[:, :prefix].cpu().numpy() for row in rows]
        return AttentionRow(*patches, *prefixes)

    def class_attention(self) -> Optional[np.ndarray]:
        """Returns what the class token attends to, (h, H, W), which GAug leaves as it is. None without such a token."""
        if not self.has_class_token:
            return None
        row = self._rows(torch.zeros(1, dtype=torch.long, device=self.query.device))[:, 0]
        return row[:, self.num_prefix_tokens:].unflatten(1, self.grid).cpu().numpy()

    def ellipse(self, head: int, patch: Patch) -> Tuple[float, float, float, float]:
        """Returns the one-sigma ellipse of a patch's Gaussian in one head, in px of the image that went in.

        Args:
            head: From 0.
            patch: Row and column.

        Returns:
            x and y of its centre, and sigma along x and along y.

        Raises:
            ValueError: The block has no GAug, or the patch lies outside the grid.
        """
        if not self.has_gaug:
            raise ValueError(f'block {self.index + 1} has plain attention: there are no Gaussians')
        sigma = self.variance[head, self._numbers([patch])[0]].sqrt()
        height, width = self.patch_size
        return ((patch[1] + 0.5) * width, (patch[0] + 0.5) * height, float(sigma[1]) * width, float(sigma[0]) * height)

    def mean_distance(self, with_gaug: Optional[bool] = None) -> np.ndarray:
        """Returns the mean attention distance of each head, (h,), in patches; see ``attention_distance``.

        Args:
            with_gaug: Whether S is added; by default as the model does.

        Raises:
            ValueError: S is asked for, and the block has no GAug.
        """
        with_gaug = self.has_gaug if with_gaug is None else with_gaug
        if with_gaug and not self.has_gaug:
            raise ValueError(f'block {self.index + 1} has plain attention: there is no S to add')
        if with_gaug in self._distances:  # kept, since each needs the whole attention matrix
            return self._distances[with_gaug]
        heads, tokens, _ = self.query.shape
        patches = self.grid[0] * self.grid[1]
        total = torch.zeros(heads, device=self.query.device)
        for numbers in torch.arange(patches, device=self.query.device).split(max(1, _CHUNK // (heads * tokens))):
            weights = self._weights(numbers, with_gaug)[..., self.num_prefix_tokens:]
            total += attention_distance(weights, numbers, self.grid).sum(-1)
        return self._distances.setdefault(with_gaug, (total / patches).cpu().numpy())


@dataclass(frozen=True, eq=False)
class Maps:
    """The results of all of a model's blocks for one image.

    Args:
        blocks: From the first to the last.
        grid: Patches (H, W).
        patch_size: Height and width of a patch in px.
        refined_class: What the class token attends to in PRR, per head, (h, H, W): its row's weights of patches.
            None where the model has no PRR, or no class token.
    """

    blocks: List[BlockMaps]
    grid: Grid
    patch_size: Tuple[int, int]
    refined_class: Optional[np.ndarray] = None

    @property
    def has_gaug(self) -> bool:
        """Whether any block adds Gaussians to its logits."""
        return any(block.has_gaug for block in self.blocks)

    def patch_at(self, x: float, y: float) -> Patch:
        """Returns row and column of the patch that covers a pixel of the image that went in.

        Args:
            x: Pixels from the left.
            y: Pixels from the top.

        Raises:
            ValueError: No patch covers the pixel.
        """
        row, column = int(y // self.patch_size[0]), int(x // self.patch_size[1])
        if not (0 <= row < self.grid[0] and 0 <= column < self.grid[1]):
            raise ValueError(f'pixel {x:g},{y:g} lies outside the patches, which cover '
                             f'{self.grid[1] * self.patch_size[1]} x {self.grid[0] * self.patch_size[0]} px')
        return row, column
