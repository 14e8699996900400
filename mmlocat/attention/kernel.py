"""Computes the Gaussian of GAug: its constants, which the pretraining grid sets, and its factors along each axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from operator import index
from typing import Tuple, Union

import torch
from torch import Tensor

from .pytorch import at_least_float32, is_exporting, is_recording

Grid = Tuple[int, int]

# Squared distances are clamped so that distance / (2 * 0.1) still fits float16 (paper, Eq. of S).
_MAX_SQUARED_DISTANCE = 13100
# Half of float16's range: eps is doubled until the exponent's gradient stays below it.
_FLOAT16_GUARD = 32500
# float16's largest number; a far smaller alpha makes a softmax one-hot. Beyond it half-precision layers overflow to
# infinity, and infinity times a Gaussian of 0 is NaN; float32 sums of larger numbers lose digits of the probabilities.
_LARGEST_ALPHA = 65504.


def as_grid(grid: Union[int, Grid], name: str = 'grid') -> Grid:
    """Returns ``grid`` as ``(H, W)``.

    Args:
        grid: Patches per side, or ``(rows, columns)``.
        name: What to call it in an error.

    Raises:
        ValueError: It is not one or two positive whole numbers.
    """
    if isinstance(grid, tuple) and is_recording():
        return grid  # symbols, which a comparison or index() would bind to one size
    pair = (grid, grid) if isinstance(grid, Integral) else grid
    try:
        height, width = (side if isinstance(side, torch.SymInt) else index(side) for side in pair)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise ValueError(
            f'{name} must be a positive whole number or a pair (H, W) of them, in patches; got {grid!r}')
    return height, width


@dataclass(frozen=True)
class GaussianKernel:
    """The constants of a pretraining grid G, and the Gaussian that they define.

    It is immutable: a model creates one when it is built, and passes the current grid to every call.

    Args:
        ref_grid: G, the patch grid of pretraining, ``(rows, columns)`` or one number
            for a square one. 14 x 14 for 224 px images and 16 px patches.

    Raises:
        ValueError: ``ref_grid`` is not one or two positive whole numbers.
    """

    ref_grid: Union[int, Grid]

    def __post_init__(self) -> None:
        object.__setattr__(self, 'ref_grid', as_grid(self.ref_grid, 'ref_grid'))

    @property
    def variance_limit(self) -> float:
        """s = max(G)^2, the largest variance, in squared patches."""
        return float(max(self.ref_grid)**2)

    @property
    def max_squared_distance(self) -> float:
        """Where the squared distance along an axis is clamped, in squared patches."""
        return float(min((max(self.ref_grid) - 1)**2, _MAX_SQUARED_DISTANCE))

    @property
    def eps(self) -> float:
        """Added to the variance so that float16 stays finite, forward and backward."""
        eps = 0.1
        while 0.5 * (max(self.ref_grid) - 1)**2 / eps**2 > _FLOAT16_GUARD:
            eps *= 2
        return eps

    def variance(self, logits: Tensor, grid: Union[int, Grid]) -> Tensor:
        """Turns pre-activations into variances: ``s * sigmoid(logits - ln(s - 1))``.

        A zero pre-activation gives variance 1 on the pretraining grid. On any other grid the
        variance is scaled by ``min(H, W) / min(G)``.

        Args:
            logits: Shape (..., H*W, 2), rows first, then columns.
            grid: The current patch grid (H, W).

        Returns:
            Shape (..., H*W, 2), in squared patches, float32 or wider.
        """
        grid = as_grid(grid)
        limit = self.variance_limit
        shift = math.log(limit - 1) if limit > 2 else 0.0
        variance = limit * torch.sigmoid(at_least_float32(logits) - shift)
        if is_exporting():
            variance = variance * (torch.sym_min(*grid) / min(self.ref_grid))  # 1 on the pretraining grid
        elif grid != self.ref_grid:
            # PyTorch 2.11 cannot compile the symbolic form of min(). A comparison makes one graph for portrait images
            # and one for others.
            shorter = grid[0] if grid[0] <= grid[1] else grid[1]
            variance = variance * (shorter / min(self.ref_grid))
        return variance

    def alpha(self, logits: Tensor) -> Tensor:
        """Turns pre-activations into scales: ``softplus(logits)``, at most float16's largest number.

        Args:
            logits: Shape (..., H*W, 1).

        Returns:
            Shape (..., H*W, 1), in units of an attention logit, float32 or wider.
        """
        return torch.nn.functional.softplus(at_least_float32(logits)).clamp(max=_LARGEST_ALPHA)

    def factors(self, variance: Tensor, grid: Union[int, Grid]) -> Tuple[Tensor, Tensor]:
        """Evaluates the Gaussian along each axis, for every patch as query.

        The two axes separate, so a query takes H + W exponentials instead of H * W:
        ``G[p, (y, x)] = gy[p, y] * gx[p, x]``.

        Args:
            variance: Shape (..., H*W, 2), rows first.
            grid: The current patch grid (H, W).

        Returns:
            gy of shape (..., H*W, H) and gx of shape (..., H*W, W), float32 or wider.
        """
        height, width = as_grid(grid)
        precision = self.precision(variance).unflatten(-2, (height, width))
        rows = torch.exp2(precision[..., 0:1] * self.squared_distances(height, precision)[:, None])
        columns = torch.exp2(precision[..., 1:2] * self.squared_distances(width, precision))
        return rows.flatten(-3, -2), columns.flatten(-3, -2)

    def precision(self, variance: Tensor) -> Tensor:
        """Returns ``-0.5 * log2(e) / (variance + eps)``, which makes a squared distance an exponent of two.

        On a CPU PyTorch evaluates powers of two faster than those of e.
        """
        return -0.5 * math.log2(math.e) / (at_least_float32(variance) + self.eps)

    def squared_distances_of_pairs(self, grid: Grid, like: Tensor) -> Tuple[Tensor, Tensor]:
        """Returns the clamped squared distances of all pairs of patches, by row and by column, (H*W, H*W) each."""
        height, width = grid
        rows = columns = self.squared_distances(height, like)
        if width != height:
            columns = self.squared_distances(width, like)
        rows = rows[:, None, :, None].expand(height, width, height, width)
        columns = columns[None, :, None, :].expand(height, width, height, width)
        patches = height * width
        return rows.reshape(patches, patches), columns.reshape(patches, patches)

    def squared_distances(self, length: int, like: Tensor) -> Tensor:
        """Returns the clamped squared distances along an axis, (length, length), in squared patches."""
        position = torch.arange(length, device=like.device, dtype=like.dtype)
        return (position[:, None] - position[None, :]).square().clamp(max=self.max_squared_distance)
