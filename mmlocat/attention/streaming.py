"""Blocks of queries with a hand-written backward: memory grows with N * (H + W), not with N * N.

The Gaussian of a query is the outer product of two short factors (``GaussianKernel.factors``). Forward, the
bias of one block of queries at a time is written from them. For the backward pass only q, k, v, the output,
its log-sum-exp and the factors are kept. With P the probabilities, dO the gradient of the output O and
``dS = P * (dO v^T - rowsum(dO * O))``:

    dq = dS k * scale,  dk = dS^T q * scale,  dv = P^T dO,
    d rows[p, y] = sum_x dS[p, (y, x)] * columns[p, x],  d columns[p, x] = sum_y dS[p, (y, x)] * rows[p, y].

PyTorch's autograd carries these on to alpha and to the variance. Key rows of the grid that no Gaussian of a
block reaches are left out of the bias: see ``_reach``. Sums run in one fixed order, so results are
deterministic.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .kernel import GaussianKernel, Grid, at_least_float32

# A bias below this share of one leaves a logit's exponential as it is, also in float64 sums of float32 factors;
# times the squared distance at which it is reached, it stays below float32's resolution in the gradients too.
_NEGLIGIBLE = {torch.float32: 2.0**-34, torch.float64: 2.0**-80}
# Bytes of one block of scores: two of them (probabilities and their gradient) fit a core's second-level cache.
_BLOCK_BYTES = 1 << 20
_MIN_BLOCK = 32


class _Layout(NamedTuple):
    """What does not change over the blocks of one call."""

    grid: Grid
    num_prefix_tokens: int
    scale: float
    dropout_p: float
    seed: int


def can_run(query: Tensor, needs_grad: bool) -> Optional[str]:
    """Returns why this back-end cannot take the call, or None: it runs on every device."""
    return None


def attend(query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor, *, kernel: GaussianKernel,
           grid: Grid, num_prefix_tokens: int, scale: float, dropout_p: float) -> Tensor:
    """Attends block by block; see ``gaussian_attention``. A second derivative is refused by PyTorch's error."""
    rows, columns = kernel.factors(variance, grid)
    rows = rows * alpha
    # The mask of a block is drawn anew in the backward pass, from this seed and the block's number.
    seed = int(torch.randint(2**31, (), device='cpu')) if dropout_p else 0
    layout = _Layout(grid, num_prefix_tokens, scale, dropout_p, seed)
    return _Streaming.apply(query, key, value, rows, columns, layout)


class _Streaming(torch.autograd.Function):
    """Softmax attention under a separable bias; gradients for q, k, v and both factors."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor, layout: _Layout):
        out, log_sum = _forward(query, key, value, rows, columns, layout)
        ctx.save_for_backward(query, key, value, rows, columns, out, log_sum)
        ctx.layout = layout
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out: Tensor):
        return (*_backward(grad_out, *ctx.saved_tensors, ctx.layout), None)


def _blocks(num_tokens: int, num_prefix_tokens: int):
    """Yields (first, last + 1) of each block of queries; prefix tokens, which have no bias, form one of their own."""
    size = max(_MIN_BLOCK, _BLOCK_BYTES // (4 * num_tokens) // _MIN_BLOCK * _MIN_BLOCK)
    if num_prefix_tokens:
        yield 0, num_prefix_tokens
    for first in range(num_prefix_tokens, num_tokens, size):
        yield first, min(first + size, num_tokens)


def _reach(rows: Tensor) -> Tuple[int, int]:
    """Returns the first and last + 1 row of the grid that some Gaussian of a block reaches.

    A column factor is at most one, so the bias on row y is at most ``rows[:, y]``. What lies below the negligible
    share of one cannot change ``exp(logit)`` in the dtype of the computation.

    Args:
        rows: Shape (queries, H), alpha included.
    """
    reached = (rows.detach().amax(dim=0) > _NEGLIGIBLE[rows.dtype]).nonzero()
    return (int(reached[0]), int(reached[-1]) + 1) if len(reached) else (0, 0)


def _add_bias(scores: Tensor, rows: Tensor, columns: Tensor, num_prefix_tokens: int, reach: Tuple[int, int]) -> None:
    """Adds the bias of a block to its scores (queries, N) in place, on the rows of the grid within reach."""
    first, last = reach
    width = columns.shape[-1]
    part = scores[:, num_prefix_tokens + first * width:num_prefix_tokens + last * width]
    part.unflatten(-1, (last - first, width)).addcmul_(rows[:, first:last, None], columns[:, None, :])


def _dropout_mask(shape, layout: _Layout, block: int, like: Tensor) -> Tensor:
    """Draws the mask of a block, zeros and 1 / (1 - p); the same for the same seed and block."""
    generator = torch.Generator(device=like.device).manual_seed(layout.seed + block)
    keep = 1 - layout.dropout_p
    return torch.empty(shape, device=like.device, dtype=like.dtype).bernoulli_(keep, generator=generator).div_(keep)


def _with_column(tensor: Tensor, column) -> Tensor:
    """Appends a column to (n, d), so that a matrix product subtracts it on the way."""
    extended = tensor.new_empty(tensor.shape[0], tensor.shape[1] + 1)
    extended[:, :-1] = tensor
    extended[:, -1] = column
    return extended


def _forward(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor,
             layout: _Layout) -> Tuple[Tensor, Tensor]:
    batch, heads, num_tokens, _ = query.shape
    prefix = layout.num_prefix_tokens
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    log_sum = torch.empty(query.shape[:3], dtype=rows.dtype, device=query.device)
    block = 0
    for b in range(batch):
        for h in range(heads):
            keys, values = (at_least_float32(tensor[b, h]) for tensor in (key, value))
            for first, last in _blocks(num_tokens, prefix):
                scores = (at_least_float32(query[b, h, first:last]) * layout.scale) @ keys.t()
                if first >= prefix:
                    own = rows[b, h, first - prefix:last - prefix]
                    _add_bias(scores, own, columns[b, h, first - prefix:last - prefix], prefix, _reach(own))
                largest = scores.amax(dim=-1, keepdim=True)
                total = scores.sub_(largest).exp_().sum(dim=-1, keepdim=True)
                if layout.dropout_p:
                    scores.mul_(_dropout_mask(scores.shape, layout, block, scores))
                out[b, h, first:last] = (scores @ values).div_(total)
                log_sum[b, h, first:last] = total.log_().add_(largest).squeeze(-1)
                block += 1
    return out, log_sum


def _backward(grad_out: Tensor, query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor, out: Tensor,
              log_sum: Tensor, layout: _Layout) -> Tuple[Tensor, ...]:
    batch, heads, num_tokens, _ = query.shape
    prefix, grid = layout.num_prefix_tokens, layout.grid
    grads = [torch.zeros(tensor.shape, dtype=rows.dtype, device=query.device) for tensor in (query, key, value)]
    grad_query, grad_key, grad_value = grads
    grad_rows, grad_columns = torch.empty_like(rows), torch.empty_like(columns)
    block = 0
    for b in range(batch):
        for h in range(heads):
            keys, values = (at_least_float32(tensor[b, h]) for tensor in (key, value))
            keys_one, values_one = _with_column(keys, 1), _with_column(values, 1)
            for first, last in _blocks(num_tokens, prefix):
                queries = at_least_float32(query[b, h, first:last]) * layout.scale
                grad = at_least_float32(grad_out[b, h, first:last])
                delta = (grad * at_least_float32(out[b, h, first:last])).sum(dim=-1)
                probabilities = _with_column(queries, -log_sum[b, h, first:last]) @ keys_one.t()
                patches = slice(first - prefix, last - prefix)
                if first >= prefix:
                    own, across = rows[b, h, patches], columns[b, h, patches]
                    _add_bias(probabilities, own, across, prefix, _reach(own))
                probabilities.exp_()
                if layout.dropout_p:
                    mask = _dropout_mask(probabilities.shape, layout, block, probabilities)
                    grad_scores = (grad @ values.t()).mul_(mask).sub_(delta[:, None]).mul_(probabilities)
                    grad_value[b, h].addmm_(probabilities.mul_(mask).t(), grad)
                else:
                    grad_value[b, h].addmm_(probabilities.t(), grad)
                    grad_scores = (_with_column(grad, -delta) @ values_one.t()).mul_(probabilities)
                torch.mm(grad_scores, keys, out=grad_query[b, h, first:last])
                grad_key[b, h].addmm_(grad_scores.t(), queries)
                if first >= prefix:
                    on_grid = grad_scores[:, prefix:].unflatten(-1, grid)  # (queries, H, W)
                    grad_rows[b, h, patches] = (on_grid @ across[:, :, None]).squeeze(-1)
                    grad_columns[b, h, patches] = (own[:, None, :] @ on_grid).squeeze(-2)
                block += 1
    grad_query.mul_(layout.scale)
    return (*(grad.to(query.dtype) for grad in grads), grad_rows, grad_columns)
