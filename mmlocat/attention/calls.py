"""Checks the arguments of an attention call, and sums up what a back-end asks about it."""

from __future__ import annotations

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from .kernel import Grid
from .pytorch import is_exporting


class Request(NamedTuple):
    """The properties of an attention call for which a back-end may refuse it."""

    query: Tensor  # (B, h, N, d); only its device, dtype and shape matter
    needs_grad: bool  # whether any input needs a gradient
    dropout_p: float = 0.0
    has_bias: bool = False  # whether other terms than the Gaussian are added to the logits
    scale: float = 1.0  # factor on q k^T


def checked_request(query: Tensor, key: Tensor, value: Tensor, grid: Grid, num_prefix_tokens: int,
                    scale: Optional[float], dropout_p: float, bias: Optional[Tensor],
                    *others: Optional[Tensor]) -> Request:
    """Checks what ``gaussian_attention`` and ``GaussianAttention`` have in common, and returns the request.

    The scale is ``d ** -0.5`` if it is None. ``others`` are further tensors that may need a gradient.
    """
    if isinstance(scale, Tensor):
        raise TypeError('scale must be a number; where it is learned, multiply the query by it')
    if not 0.0 <= dropout_p < 1.0:
        raise ValueError(f'dropout_p must lie in [0, 1), got {dropout_p}')
    if not is_exporting():  # sizes are symbols then
        _check_tensors(query, key, value, grid, num_prefix_tokens, bias)
    leaves = (query, key, value, bias, *others)
    needs_grad = torch.is_grad_enabled() and any(leaf is not None and leaf.requires_grad for leaf in leaves)
    return Request(query, needs_grad, dropout_p, bias is not None, query.shape[-1]**-0.5 if scale is None else scale)


def _check_tensors(query: Tensor, key: Tensor, value: Tensor, grid: Grid, num_prefix_tokens: int,
                   bias: Optional[Tensor]) -> None:
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
    devices = {tensor.device for tensor in (query, key, value, bias) if tensor is not None}
    if len(devices) > 1:
        raise ValueError(f'query, key, value and bias must lie on one device, not on {", ".join(map(str, devices))}')
    if bias is None:
        return
    if not bias.is_floating_point():
        raise TypeError(f'bias is added to the logits and must be floating point, got {bias.dtype}; '
                        'turn a boolean mask into 0 and -inf')
    whole = (batch, heads, num_tokens, num_tokens)
    if bias.dim() > 4 or any(own not in (1, size) for own, size in zip(bias.shape[::-1], whole[::-1])):
        raise ValueError(f'bias must be broadcastable to (B, h, N, N) = {whole}, got {tuple(bias.shape)}')
