"""Provides GAug as a function, ``gaussian_attention``: checks the arguments, chooses a back-end and runs it."""

from __future__ import annotations

from typing import Optional, Union

import torch
from torch import Tensor

from .choice import choose
from .kernel import GaussianKernel, Grid, as_grid
from .recording import is_exporting
from .request import Request


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
                       bias: Optional[Tensor] = None,
                       backend: str = 'auto') -> Tensor:
    """Computes attention whose logits between patches get a Gaussian around each query added (GAug).

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
        bias: A further term of the logits, such as a table of relative positions or a mask: broadcastable to
            (B, h, N, N), floating point. Not every back-end takes one; those that do compute its gradient, for which
            'triton' needs one number a logit. A query whose keys are all masked (-inf) gives 0 in 'triton' and 'sdpa',
            NaN in 'dense', as softmax does.
        backend: 'auto', or one of ``available_backends()``; a named one never falls back to another.

    Returns:
        Shape (B, h, N, d), in the dtype of ``query``.

    Raises:
        TypeError: q, k and v differ in dtype, or are not floating point.
        ValueError: A shape does not fit the grid, a number is out of range, or the back-end is unknown.
        RuntimeError: The named back-end cannot take this call; the message says why and what can.
    """
    grid = as_grid(grid)
    if scale is None:
        scale = query.shape[-1]**-0.5
    check_call(query, key, value, grid, num_prefix_tokens, scale, dropout_p, bias)
    if not is_exporting():  # sizes are symbols then
        _check_gaussians(query, variance, alpha, grid)
    leaves = (query, key, value, variance, alpha, bias)
    needs_grad = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in leaves)
    module = choose(backend, Request(query, needs_grad, dropout_p, bias is not None, scale))
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
        dropout_p=dropout_p,
        bias=bias)


def check_call(query: Tensor, key: Tensor, value: Tensor, grid: Grid, num_prefix_tokens: int, scale: Optional[float],
               dropout_p: float, bias: Optional[Tensor]) -> None:
    """Checks the arguments that ``gaussian_attention`` and ``GaussianAttention`` have in common.

    Args:
        query: Shape (B, h, N, d), like key and value.
        key: Likewise.
        value: Likewise.
        grid: The current patch grid (H, W).
        num_prefix_tokens: P.
        scale: A number, or None.
        dropout_p: In [0, 1).
        bias: Broadcastable to (B, h, N, N), or None.

    Raises:
        TypeError: q, k and v differ in dtype, or they or the bias are not floating point; or the scale is a tensor.
        ValueError: A shape does not fit the grid, or a number is out of range; tensors lie on several devices.
    """
    if isinstance(scale, Tensor):
        raise TypeError('scale must be a number; where it is learned, multiply the query by it')
    if not 0.0 <= dropout_p < 1.0:
        raise ValueError(f'dropout_p must lie in [0, 1), got {dropout_p}')
    if is_exporting():  # sizes are symbols then
        return
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


def _check_gaussians(query: Tensor, variance: Tensor, alpha: Tensor, grid: Grid) -> None:
    batch, heads = query.shape[:2]
    patches = grid[0] * grid[1]
    for name, tensor, last in (('variance', variance, 2), ('alpha', alpha, 1)):
        if tensor.shape != (batch, heads, patches, last):
            raise ValueError(f'{name} must have shape (B, h, H*W, {last}) = {(batch, heads, patches, last)}, '
                             f'got {tuple(tensor.shape)}')
