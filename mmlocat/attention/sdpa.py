"""Runs PyTorch's ``scaled_dot_product_attention`` with the Gaussian as its mask, for small grids.

The mask is the product of the Gaussian's two factors, so a query takes H + W exponentials instead of H * W; on grids
as small as Swin's windows a CPU is faster with H * W. It is written once and has N x N entries a head; with gradients,
PyTorch's CPU version takes its mathematical path, which holds several such matrices.
"""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from .calls import Request
from .kernel import GaussianKernel, Grid
from .pytorch import ATTENDS_IN_FLOAT16_ON_CPU, is_cpu_inference, is_recording, without_autocast

# Up to this many patches, and without gradients, a CPU evaluates the Gaussian of every pair. The product of the factors
# has runs of W numbers, too short for vectors of 16 with their overhead, and the exponential of a full vector is cheap.
_PATCHES_BY_PAIRS = 144


def can_run(request: Request) -> Optional[str]:
    """Returns why this back-end cannot take the call, or None if it can."""
    query = request.query
    if query.dtype == torch.float16 and query.device.type == 'cpu' and not ATTENDS_IN_FLOAT16_ON_CPU:
        return f'PyTorch {torch.__version__} has no attention in float16 on a CPU that does not overflow'
    return None


def gaussian_mask(query: Tensor, variance: Tensor, alpha: Tensor, kernel: GaussianKernel, grid: Grid,
                  num_prefix_tokens: int, bias: Optional[Tensor] = None) -> Tensor:
    """Writes S, and ``bias`` added to it, in the dtype of ``query``; shapes as in ``dense.gaussian_bias``."""
    given = [variance, alpha] if bias is None else [variance, alpha, bias]
    # In this order: where a graph is recorded, a look at the size of the grid would bind it to that size.
    if is_cpu_inference(*given) and grid[0] * grid[1] <= _PATCHES_BY_PAIRS:
        return _mask_by_pairs(query, variance, alpha, kernel, grid, num_prefix_tokens, bias)
    mask = _mask_by_factors(query, variance, alpha, kernel, grid, num_prefix_tokens)
    return mask if bias is None else mask + bias.to(mask.dtype)


def _mask_by_pairs(query: Tensor, variance: Tensor, alpha: Tensor, kernel: GaussianKernel, grid: Grid,
                   num_prefix_tokens: int, bias: Optional[Tensor]) -> Tensor:
    """Evaluates an exponential for each pair of patches, in place, and multiplies and adds in one pass."""
    precision = kernel.precision(variance)
    rows, columns = kernel.squared_distances_of_pairs(grid, precision)
    alpha = alpha.to(precision.dtype)
    mask = precision.new_empty(*query.shape[:3], query.shape[2])
    patches = mask
    if num_prefix_tokens:
        mask[..., :num_prefix_tokens, :] = 0
        mask[..., num_prefix_tokens:, :num_prefix_tokens] = 0
        patches = mask[..., num_prefix_tokens:, num_prefix_tokens:]
    torch.mul(precision[..., 0:1], rows, out=patches)
    patches.addcmul_(precision[..., 1:2], columns).exp2_()
    if bias is None or num_prefix_tokens:
        patches.mul_(alpha)
        if bias is not None:
            mask.add_(bias)
    else:
        torch.addcmul(bias.to(mask.dtype), alpha, mask, out=mask)
    return mask.to(query.dtype)


def _mask_by_factors(query: Tensor, variance: Tensor, alpha: Tensor, kernel: GaussianKernel, grid: Grid,
                     num_prefix_tokens: int) -> Tensor:
    """Multiplies the Gaussian's factors along the two axes."""
    batch, heads, num_tokens, _ = query.shape
    rows, columns = kernel.factors(variance, grid)
    rows = (rows * alpha).to(query.dtype)
    columns = columns.to(query.dtype)
    if is_recording():  # a graph cannot write into slices; the compiler fuses this into one loop
        patches = (rows.unsqueeze(-1) * columns.unsqueeze(-2)).flatten(-2)
        return pad(patches, (num_prefix_tokens, 0, num_prefix_tokens, 0))
    mask = query.new_empty(batch, heads, num_tokens, num_tokens)
    mask[..., :num_prefix_tokens, :] = 0
    mask[..., num_prefix_tokens:, :num_prefix_tokens] = 0
    patches = mask[..., num_prefix_tokens:, num_prefix_tokens:].unflatten(-1, grid)  # (B, h, HW, H, W)
    if torch.is_grad_enabled() and rows.requires_grad:
        patches.copy_(rows.unsqueeze(-1) * columns.unsqueeze(-2))
    else:
        torch.mul(rows.unsqueeze(-1), columns.unsqueeze(-2), out=patches)
    return mask


def attend(query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor, *, kernel: GaussianKernel,
           grid: Grid, num_prefix_tokens: int, scale: float, dropout_p: float,
           bias: Optional[Tensor] = None) -> Tensor:
    """Runs PyTorch's attention with the Gaussian as its mask; see ``gaussian_attention``."""
    with without_autocast(query):
        mask = gaussian_mask(query, variance, alpha, kernel, grid, num_prefix_tokens, bias)
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout_p, scale=scale)
