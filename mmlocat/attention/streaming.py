"""Computes GAug attention by tiles of queries and keys, with a hand-written backward pass, without N x N matrices.

Memory is N * (H + W) numbers and one tile. The Gaussian G of a query is the outer product of two short factors, so
the bias of a tile takes H + W exponentials a query; it is written into a buffer that all tiles share. For the backward
pass only q, k, v, variance, alpha, the output O and its log-sum-exp are kept, and the bias is written again. With P the
probabilities, dO the gradient of O, Dy and Dx the squared distances and ``dS = P * (dO v^T - rowsum(dO * O))``:

    dq = dS k * scale,  dk = dS^T q * scale,  dv = P^T dO,
    d alpha = sum_k dS * G,  d precision = alpha * sum_k dS * G * (Dy, Dx),  precision = -0.5 / (variance + eps).

Because G separates, the three sums over keys are entries of one 2 x 2 matrix a query, ``[gy, gy Dy] dS [gx, gx Dx]^T``
with dS viewed as (H, W). Every sum runs in one fixed order, so results are deterministic. On a CPU the forward pass
of a tile is PyTorch's fused attention, in its own precision; everything else computes half precision in float32.
"""

from __future__ import annotations

import math
from typing import Iterator, List, Optional, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import tiles
from .calls import Request
from .kernel import GaussianKernel, Grid
from .pytorch import ATTENDS_IN_FLOAT16_ON_CPU, at_least_float32, is_recording

Where = Tuple[slice, slice]  # batch elements and heads
_LOG2_E = math.log2(math.e)
# The CPU's fused attention, which also returns the log-sum-exp. It takes a mask since PyTorch 2.3, but no dropout.
_FUSED = getattr(torch.ops.aten, '_scaled_dot_product_flash_attention_for_cpu', None)
_HAS_FUSED = _FUSED is not None and 'attn_mask' in str(_FUSED.default._schema)


def can_run(request: Request) -> Optional[str]:
    """Returns why this back-end cannot take the call, or None if it can; it runs on every device."""
    if request.has_bias:
        return "the tiles' hand-written backward has no gradient of a bias"
    return 'a loop over tiles cannot be recorded in a graph' if is_recording() else None


def attend(query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor, *, kernel: GaussianKernel,
           grid: Grid, num_prefix_tokens: int, scale: float, dropout_p: float,
           bias: Optional[Tensor] = None) -> Tensor:
    """Attends tile by tile, differentiable once; see ``gaussian_attention``. ``can_run`` has refused a bias before."""
    # The dropout mask of a tile is drawn again in the backward pass, from this seed and the tile's number.
    seed = int(torch.randint(2**31, (), device='cpu')) if dropout_p else 0
    # The number of threads is read once per call, because with dropout both passes must cut the same tiles.
    shares = min(torch.get_num_threads(), tiles.MAX_SHARES) if query.device.type == 'cpu' else 1
    call = tiles.Call(kernel, grid, num_prefix_tokens, scale, dropout_p, seed, shares)
    return _Streaming.apply(query, key, value, variance, alpha, call)


class _Streaming(torch.autograd.Function):
    """Softmax attention under a separable bias, with gradients for all five inputs."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor, call: tiles.Call):
        with torch.autocast(query.device.type, enabled=False):
            out, log_sum = _forward(query, key, value, variance, alpha, call)
        ctx.save_for_backward(query, key, value, variance, alpha, out, log_sum)
        ctx.call = call
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out: Tensor):
        with torch.autocast(grad_out.device.type, enabled=False):
            return (*_backward(grad_out, *ctx.saved_tensors, ctx.call), None)


class _Gaussians:
    """The Gaussians of one call, which gives each group of batch elements and heads its factors."""

    def __init__(self, variance: Tensor, alpha: Tensor, call: tiles.Call, dtype: torch.dtype) -> None:
        self.call = call
        self.alpha = alpha.to(dtype)
        self.precision = call.kernel.precision(variance).to(dtype)
        height, width = call.grid
        down = across = call.kernel.squared_distances(height, self.precision)
        if width != height:
            across = call.kernel.squared_distances(width, self.precision)
        # Squared distances for every patch as query: (H, 1, H) and (W, W), broadcast to (H, W, H) and (H, W, W).
        self.distances = down[:, None], across

    def factors(self, where: Where, factor: float) -> Tuple[Tensor, Tensor, Tensor]:
        """Returns gy (b, g, N, H), gx (b, g, N, W) and gy * alpha * factor; zeros for prefix tokens as queries."""
        grid, prefix = self.call.grid, self.call.num_prefix_tokens
        precision = self.precision[where].unflatten(2, grid)
        shape = (*precision.shape[:2], prefix + grid[0] * grid[1])
        factors, scaled = precision.new_empty(*shape, sum(grid)), precision.new_empty(*shape, grid[0])
        if prefix:
            factors[:, :, :prefix] = 0
            scaled[:, :, :prefix] = 0
        patches = factors[:, :, prefix:]
        on_grid = patches.unflatten(2, grid)
        torch.mul(precision[..., 0:1], self.distances[0], out=on_grid[..., :grid[0]])
        torch.mul(precision[..., 1:2], self.distances[1], out=on_grid[..., grid[0]:])
        patches.exp2_()
        alpha = self.alpha[where]
        torch.mul(patches[..., :grid[0]], alpha if factor == 1 else alpha * factor, out=scaled[:, :, prefix:])
        return factors[..., :grid[0]], factors[..., grid[0]:], scaled

    def of_groups(self, groups: List[Where], factor: float) -> Iterator[Tuple[Where, Tensor, Tensor, Tensor]]:
        """Yields every group with its factors, which are evaluated for several groups at once while they are small.

        Evaluated head by head on a grid of 32, they would take as long as the multiplication that writes the bias.
        """
        height, width = self.call.grid
        a_head = (self.call.num_prefix_tokens + height * width) * (2 * height + width)
        start = 0
        while start < len(groups):
            batches, heads = groups[start]
            stop = start + 1
            while stop < len(groups) and groups[stop][0] == batches and (
                    batches.stop - batches.start) * (groups[stop][1].stop - heads.start) * a_head <= tiles.FACTORS:
                stop += 1
            together = self.factors((batches, slice(heads.start, groups[stop - 1][1].stop)), factor)
            for where in groups[start:stop]:
                own = slice(where[1].start - heads.start, where[1].stop - heads.start)
                yield (where, *(tensor[:, own] for tensor in together))
            start = stop

    def moments(self, rows: Tensor, columns: Tensor) -> Tuple[Tensor, Tensor]:
        """Returns [gy, gy Dy, 0] (b, g, N, 3, H) and [gx, gx Dx]^T (b, g, N, W, 2).

        With the row of zeros small grids avoid the plain loop that PyTorch uses for matrices of less than 400 products.
        """
        grid, prefix = self.call.grid, self.call.num_prefix_tokens
        first, second = rows.new_zeros(*rows.shape[:3], 3, grid[0]), rows.new_zeros(*columns.shape, 2)
        first[..., 0, :] = rows
        second[..., 0] = columns
        for factor, distances, moment in ((rows, self.distances[0], first[..., 1, :]),
                                          (columns, self.distances[1], second[..., 1])):
            torch.mul(factor[:, :, prefix:].unflatten(2, grid), distances, out=moment[:, :, prefix:].unflatten(2, grid))
        return first, second


def _write_bias(tile: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Fills a tile (b, g, queries, keys): zeros for prefix keys, which come first, then rows of the grid."""
    grid = rows.shape[-1], columns.shape[-1]
    prefix = tile.shape[-1] - grid[0] * grid[1]
    if prefix:
        tile[..., :prefix].zero_()
    torch.mul(rows.unsqueeze(-1), columns.unsqueeze(-2), out=tile[..., prefix:].unflatten(-1, grid))
    return tile


def _forward(query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor,
             call: tiles.Call) -> Tuple[Tensor, Tensor]:
    batch, heads, num_tokens, dims = query.shape
    plan = tiles.plan(query, call, tiles.FORWARD)
    gaussians = _Gaussians(variance, alpha, call, torch.promote_types(query.dtype, torch.float32))
    # The layout that PyTorch's own attention returns, with which the following transposition costs nothing.
    out = query.new_empty(batch, num_tokens, heads, dims).transpose(1, 2)
    log_sum = gaussians.alpha.new_empty(query.shape[:3])
    buffer = gaussians.alpha.new_empty(plan.size)
    fused = _HAS_FUSED and query.device.type == 'cpu' and not call.dropout_p
    if query.dtype == torch.float16 and not ATTENDS_IN_FLOAT16_ON_CPU:
        fused = False
    if fused:
        # The fused kernel needs contiguous channels, and this direct call bypasses PyTorch's check of that.
        query, key, value = (t if t.stride(-1) == 1 else t.contiguous() for t in (query, key, value))
    one_call = len(plan.blocks) == len(plan.groups) == 1
    if fused and num_tokens >= tiles.LARGE and not one_call and call.num_prefix_tokens:
        # Prefix queries are computed separately, so that the threads get equal shares of the other blocks.
        first = slice(call.num_prefix_tokens)
        out[:, :, first], log_sum[:, :, first] = _FUSED(query[:, :, first], key, value, scale=call.scale)
        plan.blocks[0] = slice(first.stop, plan.blocks[0].stop)
    number = 0
    for where, _, columns, rows in gaussians.of_groups(plan.groups, 1):
        queries, keys, values, outs, sums = (tensor[where] for tensor in (query, key, value, out, log_sum))
        for block in plan.blocks:
            shape = (*rows.shape[:2], block.stop - block.start, num_tokens)
            scores = _write_bias(buffer[:math.prod(shape)].view(shape), rows[:, :, block], columns[:, :, block])
            if fused:
                result = _FUSED(queries[:, :, block], keys, values, attn_mask=scores, scale=call.scale)
            else:
                result = _tile(queries[:, :, block], keys, values, scores, call, number)
            if one_call:
                return result
            outs[:, :, block], sums[:, :, block] = result
            number += 1
    return out, log_sum


def _tile(query: Tensor, key: Tensor, value: Tensor, scores: Tensor, call: tiles.Call,
          number: int) -> Tuple[Tensor, Tensor]:
    """Attends under the bias in ``scores``, which is overwritten; returns the output and its log-sum-exp."""
    dtype = query.dtype
    query, key, value = (at_least_float32(tensor).flatten(0, 1) for tensor in (query, key, value))
    flat = scores.flatten(0, 1)
    torch.baddbmm(flat, query, key.transpose(-2, -1), alpha=call.scale, out=flat)
    largest = flat.amax(dim=-1, keepdim=True)
    total = flat.sub_(largest).exp_().sum(dim=-1, keepdim=True)
    if call.dropout_p:
        flat.mul_(_dropout_mask(flat, call, number))
    out = (flat @ value).div_(total).to(dtype)
    return out.unflatten(0, scores.shape[:2]), total.log_().add_(largest).view(scores.shape[:3])


def _dropout_mask(like: Tensor, call: tiles.Call, number: int) -> Tensor:
    """Draws the dropout mask of a tile, 0 or 1 / (1 - p); the same seed and tile number give the same mask."""
    generator = torch.Generator(device=like.device).manual_seed(call.seed + number)
    keep = 1 - call.dropout_p
    return torch.empty_like(like).bernoulli_(keep, generator=generator).div_(keep)


def _backward(grad_out: Tensor, query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor, out: Tensor,
              log_sum: Tensor, call: tiles.Call) -> Tuple[Tensor, ...]:
    # With dropout the tiles are those of the forward pass, for which its masks were drawn.
    plan = tiles.plan(query, call, tiles.FORWARD if call.dropout_p else tiles.BACKWARD)
    prefix, width = call.num_prefix_tokens, call.grid[1]
    gaussians = _Gaussians(variance, alpha, call, log_sum.dtype)
    grads = [log_sum.new_empty(query.shape) for _ in range(3)]
    sums = log_sum.new_empty(*query.shape[:3], 3, 2)  # [gy, gy Dy, 0] dS [gx, gx Dx]^T
    buffers = [log_sum.new_empty(plan.size) for _ in range(2)]
    number = 0
    for where, rows, columns, scaled in gaussians.of_groups(plan.groups, _LOG2_E):
        queries, grad_outs, outs = (at_least_float32(tensor[where]) for tensor in (query, grad_out, out))
        keys, values = (at_least_float32(tensor[where]).flatten(0, 1).contiguous() for tensor in (key, value))
        grad_query, grad_key, grad_value = (grad[where].flatten(0, 1) for grad in grads)
        down, across = gaussians.moments(rows, columns)
        for block in plan.blocks:
            own, grad = (tensor[:, :, block].flatten(0, 1).contiguous() for tensor in (queries, grad_outs))
            delta = (grad_outs[:, :, block] * outs[:, :, block]).sum(dim=-1).flatten(0, 1)[..., None]
            log_total = (log_sum[where][:, :, block] * _LOG2_E).flatten(0, 1)[..., None]
            half = 0  # [gy, gy Dy, 0] dS, (b, g, queries, 3, W)
            for band, grid_rows in plan.bands:
                shape = (*rows.shape[:2], block.stop - block.start, band.stop - band.start)
                first, second = (buffer[:math.prod(shape)].view(shape) for buffer in buffers)
                _write_bias(first, scaled[:, :, block, grid_rows], columns[:, :, block])
                on_grid = second[..., 0 if band.start else prefix:].unflatten(-1, (-1, width))
                first, second = first.flatten(0, 1), second.flatten(0, 1)
                mask = _dropout_mask(first, call, number) if call.dropout_p else None
                # The bias in ``first`` becomes probabilities: powers of two, for it comes multiplied by log2 e.
                torch.baddbmm(first, own, keys[:, band].transpose(-2, -1), alpha=call.scale * _LOG2_E, out=first)
                first.sub_(log_total).exp2_()
                # ``second`` becomes dS.
                torch.bmm(grad, values[:, band].transpose(-2, -1), out=second)
                if mask is not None:
                    second.mul_(mask)
                second.sub_(delta).mul_(first)
                if mask is not None:
                    first.mul_(mask)
                _accumulate(grad_value[:, band], first.transpose(-2, -1), grad, 1.0, block.start)
                _accumulate(grad_key[:, band], second.transpose(-2, -1), own, call.scale, block.start)
                _accumulate(grad_query[:, block], second, keys[:, band], call.scale, band.start)
                half += down[:, :, block, :, grid_rows] @ on_grid
                number += 1
            sums[where][:, :, block] = half @ across[:, :, block]
    sums = sums[:, :, prefix:]
    by_axis = torch.stack([sums[..., 1, 0], sums[..., 0, 1]], dim=-1) * alpha
    grads += [by_axis * 0.5 / (at_least_float32(variance) + call.kernel.eps).square(), sums[..., 0, :1]]
    return tuple(grad.to(leaf.dtype) for grad, leaf in zip(grads, (query, key, value, variance, alpha)))


def _accumulate(total: Tensor, left: Tensor, right: Tensor, factor: float, position: int) -> None:
    """Sets ``total`` to the product of two matrices times a factor, or adds it where the position is not the first."""
    torch.baddbmm(total, left, right, beta=int(position > 0), alpha=factor, out=total)
