"""FlexAttention with a ``score_mod`` that reads the Gaussian's factors: inference only.

On CUDA it is compiled into one kernel at the first call, with dynamic shapes: no grid has one of its own (a batch or
a width of 1 has). On a CPU it runs as
PyTorch's unfused reference, quadratic in memory: the compiled CPU kernel of PyTorch 2.14 fails to build for some
shapes. Gradients are refused: PyTorch sums those of captured tensors, here the factors, by atomic additions, which
is neither deterministic nor measured here, and its CPU version has none. ``auto`` never takes it, because it compiles.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Callable, Optional

import torch
from torch import Tensor
from torch.nn.functional import pad

from .kernel import GaussianKernel, Grid
from .recording import is_exporting

try:
    from torch.nn.attention.flex_attention import flex_attention
except ImportError:  # before PyTorch 2.5
    flex_attention = None


def can_run(query: Tensor, needs_grad: bool) -> Optional[str]:
    """Returns why this back-end cannot take the call, or None."""
    if flex_attention is None:
        return f'PyTorch {torch.__version__} has no FlexAttention (2.5 has)'
    if is_exporting():
        return 'FlexAttention is compiled for a device, not exported'
    if needs_grad:
        return 'FlexAttention sums the gradients of variance and alpha in no fixed order, and has none on a CPU'
    if query.device.type not in ('cpu', 'cuda'):
        return f'FlexAttention is for CUDA and CPU, not {query.device.type}'
    return None


def attend(query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor, *, kernel: GaussianKernel,
           grid: Grid, num_prefix_tokens: int, scale: float, dropout_p: float) -> Tensor:
    """Runs FlexAttention; see ``gaussian_attention``.

    Raises:
        RuntimeError: Dropout was asked for.
    """
    if dropout_p:
        raise RuntimeError(f"attention back-end 'flex' has no dropout (dropout_p={dropout_p}); "
                           "'streaming' and 'sdpa' have")
    rows, columns = kernel.factors(variance, grid)
    # Prefix tokens as queries have factors of zero, as keys the row H, where every factor is zero too.
    rows = pad(rows * alpha, (0, 1, num_prefix_tokens, 0))
    columns = pad(columns, (0, 0, num_prefix_tokens, 0))
    place = torch.arange(grid[0] * grid[1], device=query.device)
    key_row = pad(place // grid[1], (num_prefix_tokens, 0), value=grid[0])
    key_column = pad(place % grid[1], (num_prefix_tokens, 0))
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='flex_attention called without torch.compile')
        run = _compiled() if query.device.type == 'cuda' else biased_flex_attention
        # Without gradients; a leaf that could have one makes the CPU version refuse, also under no_grad.
        query, key, value, rows, columns = (t.detach() for t in (query, key, value, rows, columns))
        return run(query, key, value, rows, columns, key_row, key_column, scale)


def biased_flex_attention(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor, key_row: Tensor,
                          key_column: Tensor, scale: float) -> Tensor:
    """What is compiled. Sizes come in as tensors and shapes only, so that no grid needs a kernel of its own.

    Args:
        query: Shape (B, h, N, d).
        key: Shape (B, h, N, d).
        value: Shape (B, h, N, d).
        rows: Shape (B, h, N, H + 1), alpha included; the last entry is zero.
        columns: Shape (B, h, N, W).
        key_row: Shape (N,), each key's row of the grid, H for prefix tokens.
        key_column: Shape (N,), each key's column.
        scale: Factor on q k^T.
    """

    def add_bias(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return score + rows[b, h, q, key_row[k]] * columns[b, h, q, key_column[k]]

    return flex_attention(query, key, value, score_mod=add_bias, scale=scale)


@lru_cache(maxsize=None)
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(biased_flex_attention, dynamic=True)
