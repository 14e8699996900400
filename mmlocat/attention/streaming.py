"""Blocks of queries with a hand-written backward: memory grows with N * (H + W), not with N * N.

The Gaussian of a query is the outer product of two short factors (``GaussianKernel.factors``), so H + W
exponentials a query make the bias of a block, which is written into one buffer that all blocks share. For the
backward pass only q, k, v, variance, alpha, the output and its log-sum-exp are kept, and the bias is written
again. With P the probabilities, O the output, dO its gradient, G the Gaussian, Dy and Dx the squared distances
and ``dS = P * (dO v^T - rowsum(dO * O))``:

    dq = dS k * scale,  dk = dS^T q * scale,  dv = P^T dO,
    d alpha = sum_k dS * G,  d precision = alpha * sum_k dS * G * (Dy, Dx),  precision = -0.5 / (variance + eps).

Because G is an outer product, the three sums over keys are one small matrix product, (2, H) by (H, W) a query, and
sums over W numbers. Every sum runs in one fixed order: results are deterministic. Half precision is computed in
float32, block by block.
"""

from __future__ import annotations

import math
from typing import Iterator, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .kernel import GaussianKernel, Grid, at_least_float32

# Scores in one buffer, by device: on a CPU what its caches hold, elsewhere what keeps the device busy. Forward, the
# fused kernel takes the buffer as a mask; backward holds two. Measured: see docs/performance.md.
_FORWARD_SCORES = {'cpu': 1 << 20}
_BACKWARD_SCORES = {'cpu': 1 << 19}
_OTHER_SCORES = 1 << 26
_MIN_QUERIES = 32
_LOG2_E = math.log2(math.e)
# The CPU's fused attention; it also returns the log-sum-exp. It takes a mask since PyTorch 2.3, no dropout.
_FUSED = getattr(torch.ops.aten, '_scaled_dot_product_flash_attention_for_cpu', None)
_HAS_FUSED = _FUSED is not None and 'attn_mask' in str(_FUSED.default._schema)


class _Layout(NamedTuple):
    """What does not change over the blocks of one call."""

    kernel: GaussianKernel
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
    # The dropout mask of a block is drawn anew in the backward pass, from this seed and the block's number.
    seed = int(torch.randint(2**31, (), device='cpu')) if dropout_p else 0
    layout = _Layout(kernel, grid, num_prefix_tokens, scale, dropout_p, seed)
    return _Streaming.apply(query, key, value, variance, alpha, layout)


class _Streaming(torch.autograd.Function):
    """Softmax attention under a separable bias, with gradients for all five inputs."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor, layout: _Layout):
        with torch.autocast(query.device.type, enabled=False):
            out, log_sum = _forward(query, key, value, variance, alpha, layout)
        ctx.save_for_backward(query, key, value, variance, alpha, out, log_sum)
        ctx.layout = layout
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out: Tensor):
        with torch.autocast(grad_out.device.type, enabled=False):
            return (*_backward(grad_out, *ctx.saved_tensors, ctx.layout), None)


class _Group(NamedTuple):
    """Batch elements and heads that are treated together, and the blocks of queries they are cut into."""

    number: int
    where: Tuple[slice, slice]
    blocks: List[slice]


def _groups(query: Tensor, limit: int) -> Iterator[_Group]:
    """Cuts a call into groups and blocks of at most ``limit`` scores, or of ``_MIN_QUERIES`` queries of one head."""
    batch, heads, num_tokens, _ = query.shape
    per_head = num_tokens**2
    num_heads = min(heads, max(1, limit // per_head))
    num_batches = max(1, limit // (per_head * heads)) if num_heads == heads else 1
    num_blocks = math.ceil(num_tokens / max(_MIN_QUERIES, limit // num_tokens)) if num_heads == 1 else 1
    size = math.ceil(num_tokens / num_blocks)
    blocks = [slice(first, min(first + size, num_tokens)) for first in range(0, num_tokens, size)]
    corners = [(b, h) for b in range(0, batch, num_batches) for h in range(0, heads, num_heads)]
    for number, (b, h) in enumerate(corners):
        yield _Group(number, (slice(b, min(b + num_batches, batch)), slice(h, min(h + num_heads, heads))), blocks)


class _Factors:
    """The Gaussian's factors of one group, with rows of zeros for prefix tokens as queries.

    ``rows`` (b, g, N, H) and ``columns`` (b, g, N, W): their outer product is the bias, alpha included.
    """

    def __init__(self, variance: Tensor, alpha: Tensor, layout: _Layout) -> None:
        self.layout = layout
        gaussian, columns = layout.kernel.factors(variance, layout.grid)
        self.gaussian, self.columns = self._padded(gaussian), self._padded(columns)
        self.rows = self._padded(gaussian * alpha)

    def _padded(self, tensor: Tensor) -> Tensor:
        prefix = self.layout.num_prefix_tokens
        return torch.nn.functional.pad(tensor, (0, 0, prefix, 0)) if prefix else tensor

    def write_bias(self, scores: Tensor, block: slice, factor: float = 1.0) -> Tensor:
        """Fills scores (b, g, queries, N) with the bias of a block, times a factor."""
        prefix = self.layout.num_prefix_tokens
        scores[..., :prefix].zero_()
        rows = self.rows[:, :, block]
        if factor != 1.0:
            rows = rows * factor
        on_grid = scores[..., prefix:].unflatten(-1, self.layout.grid)
        torch.mul(rows.unsqueeze(-1), self.columns[:, :, block].unsqueeze(-2), out=on_grid)
        return scores

    def moments(self) -> Tensor:
        """Returns the row factor and its product with the squared distance, (b, g, N, 2, H)."""
        height, width = self.layout.grid
        distances = self.layout.kernel.squared_distances(height, self.rows).repeat_interleave(width, dim=0)
        return torch.stack([self.gaussian, self.gaussian * self._padded(distances)], dim=-2)


def _dropout_mask(shape: torch.Size, layout: _Layout, number: int, like: Tensor) -> Tensor:
    """Draws the mask of a block, zeros and 1 / (1 - p); the same for the same seed and number."""
    generator = torch.Generator(device=like.device).manual_seed(layout.seed + number)
    keep = 1 - layout.dropout_p
    return torch.empty(shape, device=like.device, dtype=like.dtype).bernoulli_(keep, generator=generator).div_(keep)


def _buffer(groups: List[_Group], like: Tensor, dtype: torch.dtype) -> Tensor:
    group = groups[0]
    size = math.prod(where.stop - where.start for where in group.where)
    queries = group.blocks[0].stop - group.blocks[0].start
    return torch.empty(size * queries * like.shape[2], dtype=dtype, device=like.device)


def _view(buffer: Tensor, *shape: int) -> Tensor:
    return buffer[:math.prod(shape)].view(shape)


def _forward(query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor,
             layout: _Layout) -> Tuple[Tensor, Tensor]:
    batch, heads, num_tokens, dims = query.shape
    device = query.device
    groups = list(_groups(query, _FORWARD_SCORES.get(device.type, _OTHER_SCORES)))
    # The layout that PyTorch's own attention returns, which makes the transposition after it free.
    out = query.new_empty(batch, num_tokens, heads, dims).transpose(1, 2)
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    log_sum = torch.empty(query.shape[:3], dtype=wide, device=device)
    buffer = _buffer(groups, query, wide)
    fused = _HAS_FUSED and device.type == 'cpu' and not layout.dropout_p
    for group in groups:
        part = [tensor[group.where] for tensor in (query, key, value, out, log_sum)]
        factors = _Factors(variance[group.where], alpha[group.where], layout)
        for index, block in enumerate(group.blocks):
            queries, outs, sums = (part[i][:, :, block] for i in (0, 3, 4))
            scores = factors.write_bias(_view(buffer, *queries.shape[:3], num_tokens), block)
            if fused:
                result, sums[...] = _FUSED(queries, part[1], part[2], attn_mask=scores, scale=layout.scale)
                outs.copy_(result)
            else:
                number = group.number * len(group.blocks) + index
                _attend_block(queries, part[1], part[2], scores, outs, sums, layout, number)
    return out, log_sum


def _attend_block(query: Tensor, key: Tensor, value: Tensor, scores: Tensor, out: Tensor, log_sum: Tensor,
                  layout: _Layout, number: int) -> None:
    """Attends under the bias in ``scores``, which is overwritten; fills ``out`` and ``log_sum``."""
    query, key, value = (at_least_float32(tensor).flatten(0, 1) for tensor in (query, key, value))
    flat = scores.flatten(0, 1)
    torch.baddbmm(flat, query, key.transpose(-2, -1), alpha=layout.scale, out=flat)
    largest = flat.amax(dim=-1, keepdim=True)
    total = flat.sub_(largest).exp_().sum(dim=-1, keepdim=True)
    if layout.dropout_p:
        flat.mul_(_dropout_mask(flat.shape, layout, number, flat))
    out.copy_((flat @ value).div_(total).view(out.shape))
    log_sum.copy_(total.log_().add_(largest).view(log_sum.shape))


def _with_column(tensor: Tensor, column: object) -> Tensor:
    """Appends a column to (b, g, n, d), flat over b and g, so that a matrix product adds it on the way."""
    extended = torch.empty(*tensor.shape[:3], tensor.shape[3] + 1, dtype=at_least_float32(tensor[:0]).dtype,
                           device=tensor.device)
    extended[..., :-1] = tensor
    extended[..., -1] = column
    return extended.flatten(0, 1)


def _backward(grad_out: Tensor, query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor,
              out: Tensor, log_sum: Tensor, layout: _Layout) -> Tuple[Tensor, ...]:
    num_tokens, prefix = query.shape[2], layout.num_prefix_tokens
    groups = list(_groups(query, _BACKWARD_SCORES.get(query.device.type, _OTHER_SCORES)))
    grads = [torch.empty_like(tensor) for tensor in (query, key, value, variance, alpha)]
    buffers = [_buffer(groups, query, log_sum.dtype) for _ in range(2)]
    for group in groups:
        part = [tensor[group.where] for tensor in (query, key, value, grad_out, out, log_sum)]
        grad_query, grad_key, grad_value, grad_variance, grad_alpha = (grad[group.where] for grad in grads)
        factors = _Factors(variance[group.where], alpha[group.where], layout)
        moments = factors.moments()
        key_one, value_one = _with_column(part[1], 1), _with_column(part[2], 1)
        keys = key_one[..., :-1]
        key_sum, value_sum = torch.zeros_like(keys), torch.zeros_like(keys)
        sums = torch.empty(*moments.shape[:4], layout.grid[1], dtype=moments.dtype, device=moments.device)
        for index, block in enumerate(group.blocks):
            queries, grad, outs, log_sums = (part[i][:, :, block] for i in (0, 3, 4, 5))
            delta = (at_least_float32(grad) * outs).sum(dim=-1)
            # Powers of two once more: the scale, the bias and the log-sum-exp bear log2 e.
            query_sum = _with_column(at_least_float32(queries) * (layout.scale * _LOG2_E), log_sums * -_LOG2_E)
            grad_delta = _with_column(grad, -delta)
            shape = (*queries.shape[:3], num_tokens)
            probabilities = factors.write_bias(_view(buffers[0], *shape), block, _LOG2_E).flatten(0, 1)
            torch.baddbmm(probabilities, query_sum, key_one.transpose(-2, -1), out=probabilities).exp2_()
            grad_scores = _view(buffers[1], *shape).flatten(0, 1)
            if layout.dropout_p:
                number = group.number * len(group.blocks) + index
                mask = _dropout_mask(probabilities.shape, layout, number, probabilities)
                torch.bmm(grad_delta[..., :-1], value_one[..., :-1].transpose(-2, -1), out=grad_scores)
                grad_scores.mul_(mask).sub_(delta.flatten(0, 1)[..., None]).mul_(probabilities)
                probabilities.mul_(mask)
            else:
                torch.bmm(grad_delta, value_one.transpose(-2, -1), out=grad_scores).mul_(probabilities)
            value_sum.baddbmm_(probabilities.transpose(-2, -1), grad_delta[..., :-1])
            key_sum.baddbmm_(grad_scores.transpose(-2, -1), query_sum[..., :-1])
            grad_query[:, :, block] = (grad_scores @ keys).mul_(layout.scale).view(queries.shape)
            on_grid = grad_scores.view(shape)[..., prefix:].unflatten(-1, layout.grid)  # (b, g, queries, H, W)
            sums[:, :, block] = moments[:, :, block] @ on_grid
        grad_key.copy_(key_sum.mul_(1 / _LOG2_E).view(grad_key.shape))
        grad_value.copy_(value_sum.view(grad_value.shape))
        _finish(factors, sums, variance[group.where], alpha[group.where], grad_variance, grad_alpha)
    return tuple(grads)


def _finish(factors: _Factors, sums: Tensor, variance: Tensor, alpha: Tensor, grad_variance: Tensor,
            grad_alpha: Tensor) -> None:
    """Turns the sums over key rows, (b, g, N, 2, W), into gradients of variance and alpha."""
    layout = factors.layout
    prefix = layout.num_prefix_tokens
    height, width = layout.grid
    sums.mul_(factors.columns.unsqueeze(-2))
    distances = layout.kernel.squared_distances(width, sums).repeat(height, 1)  # (H*W, W)
    plain, by_rows = sums[:, :, prefix:].unbind(-2)
    grad_alpha.copy_(plain.sum(dim=-1, keepdim=True))
    by_axis = torch.stack([by_rows.sum(dim=-1), (plain * distances).sum(dim=-1)], dim=-1)  # (b, g, H*W, 2)
    grad_variance.copy_(by_axis * alpha * 0.5 / (at_least_float32(variance) + layout.kernel.eps).square())
