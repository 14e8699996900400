"""Launches the kernels: computes layouts, sizes and the options that each kernel is compiled with.

Everything that follows from shapes and strides alone is a ``Plan``, which is made once and cached, because at 14 x 14
patches a launch costs the host as much time as the device.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
import triton
from torch import Tensor

from ..kernel import GaussianKernel, Grid
from .backward_keys import keys_kernel
from .backward_queries import queries_kernel
from .configurations import LARGEST_TOKENS, PREFIX_BLOCK, columns_of, padded_head, tile_of, walks_rows
from .forward import forward_kernel

INTERPRETED = not isinstance(forward_kernel, triton.JITFunction)  # TRITON_INTERPRET=1 when this was imported
_LARGEST_INT32 = 2**31 - 1
QUERY_WANTS = ('WANT_Q', 'WANT_GAUSSIAN', 'WANT_LAYERS', 'WANT_GATE', 'WANT_BIAS')
# The tensors that may need a gradient, in their order here and in the operator.
LEAVES = ('query', 'key', 'value', 'gate_query', 'bias', 'spot0', 'spot1', 'spot2', 'spot3')


class Inputs(NamedTuple):
    """The tensors of a call."""

    query: Tensor  # (B, h, N, d), like key and value
    key: Tensor
    value: Tensor
    gate_query: Optional[Tensor]  # (B, h, N, d): predicts the Gaussian instead of the query
    bias: Optional[Tensor]  # broadcastable to (B, h, N, N)
    spot0: Tensor  # weight (2, d) of the variance layer; or the variance, (B, h, H*W, 2)
    spot1: Tensor  # its bias (2, ); or alpha, (B, h, H*W, 1)
    spot2: Optional[Tensor]  # weight (1, d) of the alpha layer
    spot3: Optional[Tensor]  # its bias (1, )

    def prepared(self) -> Inputs:
        """Returns the inputs as the kernels read them: contiguous along channels, copied only if they are not."""
        rows = (None if t is None or t.stride(-1) == 1 else t.contiguous() for t in self[:4])
        rows = [given if row is None else row for given, row in zip(self[:4], rows)]
        return Inputs(*rows, self.bias, *(None if t is None else t.contiguous() for t in self[5:]))


class Constants(NamedTuple):
    """The arguments of a call that are not tensors."""

    ref_grid: Grid
    grid: Grid
    num_prefix_tokens: int
    scale: float


class Launch(NamedTuple):
    """The launch of one kernel for tensors of one shape and layout."""

    kernel: Any
    programs: int
    numbers: tuple  # strides and sizes, in the kernel's order
    options: Dict[str, Any]  # what it is compiled with

    def run(self, tensors: Sequence[Tensor]) -> None:
        """Launches the kernel on the device of the tensors, which come in the kernel's order."""
        device = tensors[0].device
        elsewhere = device.type == 'cuda' and device.index != torch.cuda.current_device()
        with torch.cuda.device(device) if elsewhere else nullcontext():
            self.kernel[(self.programs, )](*tensors, *self.numbers, **self.options)


class Plan:
    """The launches of a call for tensors of one shape and layout; see ``plan_of``."""

    def __init__(self, constants: Constants, shape: Tuple[int, ...], dtype: torch.dtype, strides: Tuple[tuple, ...],
                 predicts: bool, has_gate: bool, has_bias: bool, precision: str, hopper: bool) -> None:
        self.shape, self.dtype, self.strides, self.predicts = shape, dtype, strides, predicts
        self.constants, self.has_gate, self.has_bias = constants, has_gate, has_bias
        self.precision, self.hopper = precision, hopper
        _, heads, tokens, dims = shape
        if tokens >= LARGEST_TOKENS:  # in a compiled call ``can_run`` has not checked this
            raise RuntimeError(f'the Triton kernels take less than {LARGEST_TOKENS} tokens, not {tokens}; '
                               "backend='streaming' takes more")
        (height, width), kernel = constants.grid, GaussianKernel(constants.ref_grid)
        limit = kernel.variance_limit
        factor = 1.0 if constants.grid == kernel.ref_grid else min(constants.grid) / min(kernel.ref_grid)
        # The order of ``SIZES``.
        self.sizes = (heads, tokens, constants.num_prefix_tokens, height, width, 1.0 / width,
                      kernel.max_squared_distance, constants.scale, limit * factor,
                      math.log(limit - 1) if limit > 2 else 0.0, kernel.eps)
        self.tokens_first = (tokens * heads * dims, dims, heads * dims)  # strides of (B, N, h, d)
        self.clamps = (max(height, width) - 1)**2 > kernel.max_squared_distance
        self.batch_heads = shape[0] * heads
        blocks = [tile_of(name, dtype, dims, has_bias, hopper).block_m for name in ('queries', 'keys')]
        self.padded = triton.cdiv(tokens, max(blocks)) * max(blocks)
        self._launches: Dict[tuple, Launch] = {}

    def options(self, name: str, grad_strides: Tuple[int, ...] = (), **more: Any) -> Dict[str, Any]:
        """Returns the options that a kernel is compiled with; ``more`` are those that only this kernel has."""
        (_, width), prefix, dims = self.constants.grid, self.constants.num_prefix_tokens, self.shape[3]
        tile, rows = tile_of(name, self.dtype, dims, self.has_bias, self.hopper), walks_rows(width)
        columns = columns_of(name, tile, width) if rows else 16
        options = dict(
            D=dims, BLOCK_D=padded_head(dims), BLOCK_M=tile.block_m, BLOCK_N=tile.block_n, WP=columns, ROWS=rows,
            IP=self.precision, CLAMP=self.clamps, HAS_BIAS=self.has_bias, WIDE=self.is_wide(grad_strides),
            num_warps=tile.num_warps, num_stages=tile.num_stages, **more)
        if tile.registers:
            options['maxnreg'] = tile.registers
        if name != 'keys':
            options.update(
                BLOCK_P=PREFIX_BLOCK if prefix else 0, MANY_P=prefix > PREFIX_BLOCK,
                EVEN_W=not rows or width % columns == 0, PREDICT=self.predicts, HAS_GATE=self.has_gate)
        if name == 'queries':
            options.update(TILE_SUMS=tile.tile_sums and rows)
        return options

    def is_wide(self, grad_strides: Tuple[int, ...] = ()) -> bool:
        """Whether a token's offset within one head passes 2^31 elements."""
        *rows, bias = self.strides
        steps = [*(stride[2] for stride in (*rows, self.tokens_first)), *grad_strides[2:]]
        return max(*steps, bias[2] + bias[3]) * self.shape[2] > _LARGEST_INT32

    def launch(self, name: str, grad_strides: Tuple[int, ...] = (), wants: Tuple[bool, ...] = ()) -> Launch:
        """Returns the launch of a kernel.

        Args:
            name: 'forward', 'queries' or 'keys'.
            grad_strides: Strides of the output's gradient: batch, head, token.
            wants: The values of the kernel's WANT options, in their order.
        """
        key = name, grad_strides, wants
        if key not in self._launches:
            make = {'forward': self._forward, 'queries': self._queries, 'keys': self._keys}[name]
            self._launches[key] = make(*key[1:]) if wants else make()
        return self._launches[key]

    def _forward(self) -> Launch:
        options = self.options('forward')
        programs = triton.cdiv(self.shape[2], options['BLOCK_M']) * self.batch_heads
        return Launch(forward_kernel, programs, (*self._all_strides(), *self.tokens_first, *self.sizes), options)

    def _queries(self, grad_strides: Tuple[int, ...], wants: Tuple[bool, ...]) -> Launch:
        options = self.options('queries', grad_strides, **dict(zip(QUERY_WANTS, wants)))
        numbers = (*self._all_strides(), *self.tokens_first, *grad_strides, *self.sizes, self.padded)
        return Launch(queries_kernel, self.padded // options['BLOCK_M'] * self.batch_heads, numbers, options)

    def _keys(self, grad_strides: Tuple[int, ...], wants: Tuple[bool, ...]) -> Launch:
        options = self.options('keys', grad_strides, WANT_K=wants[0], WANT_V=wants[1], WAIT=not INTERPRETED)
        (height, width), prefix, block = self.constants.grid, self.constants.num_prefix_tokens, options['BLOCK_N']
        if options['ROWS']:
            blocks = triton.cdiv(height, block // options['WP']) * triton.cdiv(width, options['WP'])
        else:
            blocks = triton.cdiv(height * width, block)
        programs = (blocks + triton.cdiv(prefix, block)) * self.batch_heads
        query, key, value, _, bias = self.strides
        numbers = (*query[:3], *key[:3], *value[:3], *bias, *self.tokens_first, *grad_strides, *self.sizes, self.padded)
        return Launch(keys_kernel, programs, numbers, options)

    def _all_strides(self) -> Tuple[int, ...]:
        query, key, value, gate, bias = self.strides
        return (*query[:3], *key[:3], *value[:3], *gate[:3], *bias)

    def empty(self, like: Tensor) -> Tensor:
        """Returns an empty (B, h, N, d) tensor in the layout (B, N, h, d), of which merged heads are a view."""
        batch, heads, tokens, dims = self.shape
        return like.new_empty((batch, tokens, heads, dims)).transpose(1, 2)


@lru_cache(maxsize=1024)
def _plan(*key: Any) -> Plan:
    return Plan(*key)


def _precision(dtype: torch.dtype) -> str:
    """Returns how float32 products are computed: exactly, unless PyTorch's own switch allows TF32."""
    return 'tf32' if dtype == torch.float32 and _allows_tf32() else 'ieee'


def _allows_tf32() -> bool:
    try:  # since PyTorch 2.9; once it has been set, reading the older switch raises an error
        return torch.backends.cuda.matmul.fp32_precision == 'tf32'
    except AttributeError:
        return torch.get_float32_matmul_precision() != 'highest'


@lru_cache(maxsize=None)
def _is_hopper(device: torch.device) -> bool:
    return device.type == 'cuda' and torch.cuda.get_device_capability(device) == (9, 0)


def plan_of(inputs: Inputs, constants: Constants, hopper: Optional[bool] = None) -> Plan:
    """Returns the plan for prepared tensors, for their own device unless ``hopper`` names the kind of GPU."""
    query, gate, bias = inputs.query, inputs.gate_query, inputs.bias
    shape = query.shape
    bias_strides = (0, 0, 0, 0) if bias is None else bias.expand(shape[0], shape[1], shape[2], shape[2]).stride()
    strides = (query.stride(), inputs.key.stride(), inputs.value.stride(),
               (0, 0, 0, 1) if gate is None else gate.stride(), bias_strides)
    return _plan(constants, shape, query.dtype, strides, inputs.spot2 is not None, gate is not None, bias is not None,
                 _precision(query.dtype), _is_hopper(query.device) if hopper is None else hopper)


def _pointers(inputs: Inputs) -> List[Tensor]:
    """Returns the tensors in the kernels' order; in place of absent ones, which are never read, stands the query."""
    return [inputs.query if tensor is None else tensor
            for tensor in (*inputs[:4], inputs.spot0, inputs.spot1, inputs.spot2, inputs.spot3, inputs.bias)]


def run_forward(inputs: Inputs, constants: Constants) -> Tuple[Tensor, Tensor]:
    """Runs the forward kernel.

    Args:
        inputs: See ``Inputs``; any strides.
        constants: See ``Constants``.

    Returns:
        The output (B, h, N, d) in the layout (B, N, h, d), and the log-sum-exp (B, h, N) in float32.
    """
    inputs = inputs.prepared()
    plan = plan_of(inputs, constants)
    out, log_sum = plan.empty(inputs.query), inputs.query.new_empty(plan.shape[:3], dtype=torch.float32)
    if plan.batch_heads:
        plan.launch('forward').run([*_pointers(inputs), out, log_sum])
    return out, log_sum


def run_backward(grad_out: Tensor, inputs: Inputs, out: Tensor, log_sum: Tensor, constants: Constants,
                 wants: Sequence[bool]) -> List[Optional[Tensor]]:
    """Runs the backward kernels, computing only what the wanted gradients need.

    Args:
        grad_out: Gradient of the output, shape (B, h, N, d).
        inputs: As in the forward pass.
        out: The output of the forward pass.
        log_sum: The log-sum-exp of the forward pass.
        constants: As in the forward pass.
        wants: For each of ``LEAVES``, whether its gradient is wanted.

    Returns:
        For each of ``LEAVES`` its gradient, or None.
    """
    leaves, inputs = inputs, inputs.prepared()
    plan = plan_of(inputs, constants)
    if not plan.batch_heads:
        return [torch.zeros_like(leaf) if want else None for leaf, want in zip(leaves, wants)]
    grad_out = grad_out if grad_out.stride(-1) == 1 else grad_out.contiguous()
    want = dict(zip(LEAVES, wants))
    want_layers = plan.predicts and any(wants[5:])
    # The query's gradient has a part that goes through the Gaussian it predicts.
    want_gaussian = any(wants[5:]) or want['gate_query'] or (want['query'] and plan.predicts and not plan.has_gate)
    grads = dict.fromkeys(LEAVES)
    grads['query'] = plan.empty(inputs.query) if want['query'] else None
    grads['gate_query'] = plan.empty(inputs.gate_query) if want['gate_query'] else None
    batch, heads, tokens, dims = plan.shape
    scores = log_sum.new_empty((batch, heads, tokens, tokens)) if want['bias'] else None
    record = log_sum.new_empty((plan.batch_heads, 3, plan.padded, 2))
    launch = plan.launch('queries', grad_out.stride()[:3],
                         (want['query'], want_gaussian, want_layers, want['gate_query'], want['bias']))
    sums, alphas = log_sum, log_sum  # placeholders where these gradients are not wanted
    if want_layers:
        sums = log_sum.new_empty((launch.programs, 3 * dims + 3))
    elif want_gaussian and not plan.predicts:
        sums, alphas = torch.empty_like(inputs.spot0), torch.empty_like(inputs.spot1)
    written = (log_sum if t is None else t for t in (grads['query'], grads['gate_query']))
    launch.run([*_pointers(inputs), out, log_sum, grad_out, record, *written, sums, alphas,
                log_sum if scores is None else scores])
    if want['bias']:
        grads['bias'] = scores.sum_to_size(leaves.bias.shape).to(leaves.bias.dtype)
    if want_layers:
        parts = _split_layers(sums.sum(0), dims)
        grads.update((name, part.to(leaf.dtype)) for name, part, leaf in zip(LEAVES[5:], parts, leaves[5:]))
    elif want_gaussian and not plan.predicts:
        grads.update(spot0=sums.view(leaves.spot0.shape), spot1=alphas.view(leaves.spot1.shape))
    if want['key'] or want['value']:
        launch = plan.launch('keys', grad_out.stride()[:3], (want['key'], want['value']))
        for name in ('key', 'value'):
            grads[name] = plan.empty(getattr(inputs, name)) if want[name] else None
        written = (log_sum if grads[name] is None else grads[name] for name in ('key', 'value'))
        bias = inputs.query if inputs.bias is None else inputs.bias
        launch.run([*inputs[:3], bias, record.view(torch.int64), grad_out, *written])
    return [grads[name] if want[name] else None for name in LEAVES]


def _split_layers(total: Tensor, dims: int) -> Tuple[Tensor, ...]:
    """Returns the gradients of the layers' weights and biases, in the order of ``LEAVES``."""
    weight, alpha_weight, bias, alpha_bias = total.split((2 * dims, dims, 2, 1))
    return weight.view(2, dims), bias, alpha_weight.view(1, dims), alpha_bias
