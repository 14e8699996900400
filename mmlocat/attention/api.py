"""The one entry to GAug: checks the arguments, picks a back-end, logs an automatic choice once."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Dict, Optional, Sequence, Set, Tuple, Union

import torch
from torch import Tensor

from . import dense, flex, sdpa, streaming, streaming_operator
from .kernel import GaussianKernel, Grid, as_grid
from .recording import is_exporting, is_recording

_BACKENDS: Dict[str, ModuleType] = {
    'dense': dense,
    'sdpa': sdpa,
    'streaming': streaming,
    'flex': flex
}
# What 'auto' takes: 'sdpa' while its mask has at most so many entries, B * h * N * N, else 'streaming'; whichever of
# them can run. The crossing points on a CPU are measured, without and with gradients (README.md says how): a small mask
# is written faster than a call is cut into tiles; with gradients PyTorch takes its quadratic path. float16 is slow in
# every product on a CPU, less so in one large one. Elsewhere they are not measured, and only keep the mask small.
# 'dense' is an oracle and never taken.
_SDPA_UP_TO = {
    'cpu': {
        torch.float64: (1 << 22, 1 << 21),
        torch.float32: (1 << 22, 1 << 21),
        torch.bfloat16: (1 << 17, 1 << 18),
        torch.float16: (1 << 24, 1 << 22)
    }
}
_SDPA_UP_TO_ELSEWHERE = (1 << 26, 1 << 26)
_logged: Set[Tuple[str, str, str]] = set()
_logger = logging.getLogger('mmlocat')


def available_backends() -> Tuple[str, ...]:
    """Returns the names that ``backend=`` takes."""
    return ('auto', *_BACKENDS)


def check_backend(backend: str) -> str:
    """Returns ``backend`` if it is a known name.

    Raises:
        ValueError: It is not; the message lists the names that are.
    """
    if backend not in available_backends():
        raise ValueError(
            f'unknown attention back-end {backend!r}; choose one of {", ".join(available_backends())}')
    return backend


def unable(backend: str, query: Tensor, needs_grad: bool) -> Optional[str]:
    """Returns why a named back-end cannot take queries like this one, or None if it can.

    Args:
        backend: One of ``available_backends()`` but 'auto'.
        query: Shape (B, h, N, d); its device and dtype count.
        needs_grad: Whether any input needs a gradient.
    """
    return _BACKENDS[backend].can_run(query, needs_grad)


def gaussian_attention(query: Tensor,
                       key: Tensor,
                       value: Tensor,
                       variance: Tensor,
                       alpha: Tensor,
                       *,
                       kernel: GaussianKernel,
                       grid: Union[int, Grid],
                       num_prefix_tokens: int = 0,
                       scale: Optional[float] = None,
                       dropout_p: float = 0.0,
                       backend: str = 'auto') -> Tensor:
    """Attention whose logits between patches carry a Gaussian spotlight (GAug).

    Computes ``softmax(q k^T * scale + S) v`` with
    ``S[p, t] = alpha[p] * exp(-0.5 * (Dy / (var_y[p] + eps) + Dx / (var_x[p] + eps)))``
    on patch rows and columns and 0 on those of prefix tokens. Source: *Locality-Attending
    Vision Transformer* (arXiv 2603.04892), Gaussian-augmented attention.

    Args:
        query: Shape (B, h, N, d) with N = P + H*W; prefix tokens first, then patches row-major.
        key: Shape (B, h, N, d).
        value: Shape (B, h, N, d).
        variance: Shape (B, h, H*W, 2), squared patches, rows first; from ``kernel.variance``.
        alpha: Shape (B, h, H*W, 1), in units of a logit; from ``kernel.alpha``.
        kernel: The constants of the pretraining grid.
        grid: The current patch grid (H, W).
        num_prefix_tokens: P, the class and register tokens.
        scale: Factor on q k^T. Defaults to ``d ** -0.5``.
        dropout_p: Probability of dropping an attention weight; always applied, so pass 0 in evaluation.
        backend: 'auto', or one of ``available_backends()``; a named one never falls back to another.

    Returns:
        Shape (B, h, N, d), in the dtype of ``query``.

    Raises:
        TypeError: q, k and v differ in dtype, or are not floating point.
        ValueError: A shape does not fit the grid, a number is out of range, or the back-end is unknown.
        RuntimeError: The named back-end cannot take this call; the message says why and what can.
    """
    grid = as_grid(grid)
    if not is_exporting():  # sizes are symbols then
        _check_shapes(query, key, value, variance, alpha, grid, num_prefix_tokens)
    if not 0.0 <= dropout_p < 1.0:
        raise ValueError(f'dropout_p must lie in [0, 1), got {dropout_p}')
    if scale is None:
        scale = query.shape[-1]**-0.5
    needs_grad = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value, variance, alpha))
    module = _choose(backend, query, needs_grad)
    return module.attend(
        query,
        key,
        value,
        variance,
        alpha,
        kernel=kernel,
        grid=grid,
        num_prefix_tokens=num_prefix_tokens,
        scale=scale,
        dropout_p=dropout_p)


def _choose(backend: str, query: Tensor, needs_grad: bool) -> ModuleType:
    check_backend(backend)
    if backend != 'auto':
        reason = unable(backend, query, needs_grad)
        if reason is not None:
            able = [name for name in _BACKENDS if unable(name, query, needs_grad) is None]
            raise RuntimeError(f'attention back-end {backend!r} cannot run here: {reason}; '
                               f'these can: {", ".join(able)}')
        return _as_recorded(_BACKENDS[backend])
    if is_exporting():  # without a look at the shape
        return sdpa
    for name in automatic_order(query.shape[:3], query.device.type, query.dtype, needs_grad):
        if unable(name, query, needs_grad) is None:
            choice = (name, query.device.type, str(query.dtype).split('.')[-1])
            if choice not in _logged and not is_recording():
                _logged.add(choice)
                _logger.info('attention back-end on %s in %s: %s', *choice[1:], name)
            return _as_recorded(_BACKENDS[name])
    raise RuntimeError(f'no automatic attention back-end for {query.device.type} and {query.dtype}; '
                       "backend='dense' always runs")


def _as_recorded(module: ModuleType) -> ModuleType:
    """Returns what stands for a back-end in the graph of torch.compile: tiles are one operator to it."""
    return streaming_operator if module is streaming and is_recording() and streaming_operator.AVAILABLE else module


def automatic_order(shape: Sequence[int], device_type: str, dtype: torch.dtype, needs_grad: bool) -> Tuple[str, ...]:
    """Returns the back-ends that ``auto`` tries, in order.

    Args:
        shape: B, h and N.
        device_type: As in ``torch.device.type``.
        dtype: Of q, k and v.
        needs_grad: Whether any input needs a gradient.
    """
    batch, heads, num_tokens = shape
    limit = _SDPA_UP_TO.get(device_type, {}).get(dtype, _SDPA_UP_TO_ELSEWHERE)[needs_grad]
    return ('sdpa', 'streaming') if batch * heads * num_tokens**2 <= limit else ('streaming', 'sdpa')


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor, grid: Grid,
                  num_prefix_tokens: int) -> None:
    if query.dim() != 4:
        raise ValueError(f'query must have shape (B, h, N, d), got {tuple(query.shape)}')
    if not query.is_floating_point() or not query.dtype == key.dtype == value.dtype:
        raise TypeError('query, key and value must share one floating-point dtype, got '
                        f'{query.dtype}, {key.dtype} and {value.dtype}')
    if query.shape != key.shape or query.shape != value.shape:
        raise ValueError('query, key and value must share one shape, got '
                         f'{tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}')
    batch, heads, num_tokens, _ = query.shape
    patches = grid[0] * grid[1]
    if num_prefix_tokens < 0 or num_prefix_tokens + patches != num_tokens:
        raise ValueError(f'a grid of {grid} and {num_prefix_tokens} prefix tokens make '
                         f'{num_prefix_tokens + patches} tokens, but query has N = {num_tokens}')
    for name, tensor, last in (('variance', variance, 2), ('alpha', alpha, 1)):
        if tensor.shape != (batch, heads, patches, last):
            raise ValueError(f'{name} must have shape (B, h, H*W, {last}) = {(batch, heads, patches, last)}, '
                             f'got {tuple(tensor.shape)}')
