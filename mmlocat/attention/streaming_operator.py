"""Registers the streaming back-end as one PyTorch operator, which torch.compile puts into its graph.

Unrolled into a graph, the loop over tiles would be compiled again for every grid. As an operator it breaks no graph,
and memory stays that of tiles. It needs torch.library.custom_op, so before PyTorch 2.4 the graph breaks here.
"""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor

from . import streaming, tiles
from .kernel import GaussianKernel, Grid

AVAILABLE = hasattr(torch.library, 'custom_op')
_INPUTS = 'Tensor query, Tensor key, Tensor value, Tensor variance, Tensor alpha, Tensor seed'
_CALL = 'SymInt[] ref_grid, SymInt[] grid, SymInt num_prefix_tokens, float scale, float dropout_p'


def attend(query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor, *, kernel: GaussianKernel,
           grid: Grid, num_prefix_tokens: int, scale: float, dropout_p: float,
           bias: Optional[Tensor] = None) -> Tensor:
    """Attends tile by tile; see ``gaussian_attention``."""
    # The seed is drawn only with dropout, as in ``streaming``: without it no random number is used up.
    seed = torch.randint(2**31, (), device='cpu') if dropout_p else torch.zeros((), dtype=torch.int64, device='cpu')
    return torch.ops.mmlocat.streaming_attention(query, key, value, variance, alpha, seed, kernel.ref_grid, grid,
                                                 num_prefix_tokens, scale, dropout_p)[0]


def _call(query: Tensor, seed: Tensor, ref_grid: Sequence[int], grid: Sequence[int], num_prefix_tokens: int,
          scale: float, dropout_p: float) -> tiles.Call:
    return tiles.Call(GaussianKernel(tuple(ref_grid)), tuple(grid), num_prefix_tokens, scale, dropout_p, int(seed),
                      tiles.shares_of(query.device))


def _forward(query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor, seed: Tensor,
             *call) -> Tuple[Tensor, Tensor]:
    with torch.autocast(query.device.type, enabled=False):
        out, log_sum = streaming._forward(query, key, value, variance, alpha, _call(query, seed, *call))
    # The compiler is told of this layout only; the output has it already unless a single tile was the whole call.
    return out.transpose(1, 2).contiguous().transpose(1, 2), log_sum.contiguous()


def _forward_shapes(query: Tensor, *rest) -> Tuple[Tensor, Tensor]:
    batch, heads, num_tokens, dims = query.shape
    return (query.new_empty(batch, num_tokens, heads, dims).transpose(1, 2),
            query.new_empty(batch, heads, num_tokens, dtype=streaming._wide(query)))


def _backward(grad_out: Tensor, query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor,
              seed: Tensor, out: Tensor, log_sum: Tensor, *call) -> Tuple[Tensor, ...]:
    with torch.autocast(query.device.type, enabled=False):
        grads = streaming._backward(grad_out, query, key, value, variance, alpha, out, log_sum,
                                    _call(query, seed, *call))
    return tuple(grad.contiguous() for grad in grads)


def _backward_shapes(grad_out: Tensor, *leaves_and_rest) -> Tuple[Tensor, ...]:
    return tuple(leaf.new_empty(leaf.shape) for leaf in leaves_and_rest[:5])


def _keep(ctx, inputs: tuple, output: Tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:6], *output)
    ctx.call = inputs[6:]


def _differentiate(ctx, grad_out: Tensor, grad_log_sum: Tensor) -> tuple:
    grads = torch.ops.mmlocat.streaming_attention_backward(grad_out, *ctx.saved_tensors, *ctx.call)
    return (*grads, *(None, ) * (1 + len(ctx.call)))


if AVAILABLE:
    _operator = torch.library.custom_op(
        'mmlocat::streaming_attention', _forward, mutates_args=(), schema=f'({_INPUTS}, {_CALL}) -> (Tensor, Tensor)')
    _operator.register_fake(_forward_shapes)
    _operator.register_autograd(_differentiate, setup_context=_keep)
    torch.library.custom_op(
        'mmlocat::streaming_attention_backward', _backward, mutates_args=(),
        schema=f'(Tensor grad_out, {_INPUTS}, Tensor out, Tensor log_sum, {_CALL}) -> '
        '(Tensor, Tensor, Tensor, Tensor, Tensor)').register_fake(_backward_shapes)
