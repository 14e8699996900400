"""Makes the kernels differentiable: by an autograd Function for eager calls, and by an operator for graphs.

``torch.compile`` puts the operator into its graph as a whole, with the grid as an argument, so that images of other
sizes need no other graph, and CUDA graphs capture it. Eager calls avoid the operator's dispatch, which costs the host
as much as a launch.
"""

from __future__ import annotations

from typing import List, NoReturn, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ..pytorch import is_recording
from .launch import LEAVES, Constants, Inputs, run_backward, run_forward

_COUNT = len(LEAVES)


def attend(inputs: Inputs, constants: Constants) -> Tensor:
    """Attends; the result is differentiable in all of ``inputs``.

    Args:
        inputs: See ``Inputs``.
        constants: See ``Constants``.

    Returns:
        Shape (B, h, N, d).
    """
    if is_recording():
        return torch.ops.mmlocat.triton_attention(*inputs, *constants)[0]
    if torch.is_grad_enabled() and any(leaf is not None and leaf.requires_grad for leaf in inputs):
        return _Attention.apply(*inputs, constants)
    return run_forward(inputs, constants)[0]


class _Attention(torch.autograd.Function):

    @staticmethod
    def forward(ctx, *inputs_and_constants):
        *inputs, constants = inputs_and_constants
        inputs = Inputs(*inputs)
        out, log_sum = run_forward(inputs, constants)
        ctx.save_for_backward(*inputs, out, log_sum)
        ctx.constants = constants
        return out

    @staticmethod
    def backward(ctx, grad_out):
        *inputs, out, log_sum = ctx.saved_tensors
        wants = ctx.needs_input_grad[:_COUNT]
        # With create_graph=True the operator raises an error on a second differentiation; compiled autograd records it.
        if torch.is_grad_enabled() or is_recording():
            return (*_backward_of_operator(grad_out, inputs, out, log_sum, wants, ctx.constants), None)
        return (*run_backward(grad_out, Inputs(*inputs), out, log_sum, ctx.constants, wants), None)


def _backward_of_operator(grad_out: Tensor, inputs: Sequence[Optional[Tensor]], out: Tensor, log_sum: Tensor,
                          wants: Sequence[bool], constants: Sequence) -> List[Optional[Tensor]]:
    """Returns a gradient or None for each of ``LEAVES``."""
    wants = [bool(want) for want in wants]
    wanted = iter(torch.ops.mmlocat.triton_attention_backward(grad_out, *inputs, out, log_sum, wants, *constants))
    return [next(wanted) if want else None for want in wants]


def _constants(ref_grid: Sequence[int], grid: Sequence[int], num_prefix_tokens: int, scale: float) -> Constants:
    return Constants(tuple(ref_grid), tuple(grid), num_prefix_tokens, scale)


_OPTIONAL = ('gate_query', 'bias', 'spot2', 'spot3')
_INPUTS = ', '.join(f'Tensor{"?" if name in _OPTIONAL else ""} {name}' for name in LEAVES)
_CONSTANTS = 'SymInt[] ref_grid, SymInt[] grid, SymInt num_prefix_tokens, float scale'


def _forward(*arguments) -> Tuple[Tensor, Tensor]:
    return run_forward(Inputs(*arguments[:_COUNT]), _constants(*arguments[_COUNT:]))


def _forward_shapes(query: Tensor, *rest) -> Tuple[Tensor, Tensor]:
    batch, heads, tokens, dims = query.shape
    return (query.new_empty((batch, tokens, heads, dims)).transpose(1, 2),
            query.new_empty((batch, heads, tokens), dtype=torch.float32))


def _backward(grad_out: Tensor, *arguments) -> List[Tensor]:
    inputs, (out, log_sum, wants), constants = (arguments[:_COUNT], arguments[_COUNT:_COUNT + 3],
                                                arguments[_COUNT + 3:])
    grads = run_backward(grad_out, Inputs(*inputs), out, log_sum, _constants(*constants), wants)
    # An operator's results must not share memory, but the gradients of the layers are parts of one row.
    shared = inputs[-1] is not None
    return [grad.clone() if shared and index > 4 else grad for index, grad in enumerate(grads) if grad is not None]


def _backward_shapes(grad_out: Tensor, *arguments) -> List[Tensor]:
    leaves, wants = arguments[:_COUNT], arguments[_COUNT + 2]
    batch, heads, tokens, dims = leaves[0].shape
    return [leaf.new_empty((batch, tokens, heads, dims)).transpose(1, 2) if index < 4 else leaf.new_empty(leaf.shape)
            for index, (leaf, want) in enumerate(zip(leaves, wants)) if want]


def _keep(ctx, inputs: tuple, output: Tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:_COUNT], *output)
    ctx.constants = inputs[_COUNT:]


def _differentiate(ctx, grad_out: Tensor, grad_log_sum: Tensor) -> tuple:
    *inputs, out, log_sum = ctx.saved_tensors
    grads = _backward_of_operator(grad_out, inputs, out, log_sum, ctx.needs_input_grad[:_COUNT], ctx.constants)
    return (*grads, *(None, ) * len(ctx.constants))


def _refuse(ctx, *grads) -> NoReturn:
    raise RuntimeError("attention back-end 'triton' has no second derivative; 'dense' and 'sdpa' have")


_operator = torch.library.custom_op(
    'mmlocat::triton_attention', _forward, mutates_args=(), schema=f'({_INPUTS}, {_CONSTANTS}) -> (Tensor, Tensor)')
_operator.register_fake(_forward_shapes)
_operator.register_autograd(_differentiate, setup_context=_keep)
_backward_operator = torch.library.custom_op(
    'mmlocat::triton_attention_backward', _backward, mutates_args=(),
    schema=f'(Tensor grad_out, {_INPUTS}, Tensor out, Tensor log_sum, bool[] wants, {_CONSTANTS}) -> Tensor[]')
_backward_operator.register_fake(_backward_shapes)
_backward_operator.register_autograd(_refuse)
