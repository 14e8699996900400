"""Runs PyTorch's ``scaled_dot_product_attention`` with the Gaussian as its mask, for small grids.

The mask is the product of the Gaussian's two factors, so a query takes H + W exponentials instead of H * W. It is
written once and has N x N entries a head; with gradients, PyTorch's CPU version takes its mathematical path, which
holds several such matrices.
"""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from .calls import Request
from .kernel import GaussianKernel, Grid
from .pytorch import ATTENDS_IN_FLOAT16_ON_CPU, is_recording, without_autocast


def can_run(request: Request) -> Optional[str]:
    """Returns why this back-end cannot take the call, or None if it can."""
    query = request.query
    if query.dtype == torch.float16 and query.device.type == 'cpu' and not ATTENDS_IN_FLOAT16_ON_CPU:
        return f'PyTorch {torch.__version__} has no attention in float16 on a CPU that does not overflow'
    return None


def gaussian_mask(query: Tensor, variance: Tensor, alpha: Tensor, kernel: GaussianKernel, grid: Grid,
                  num_prefix_tokens: int) -> Tensor:
    """Writes S once, in the dtype of ``query``; shapes as in ``dense.gaussian_bias``."""
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
        mask = gaussian_mask(query, variance, alpha, kernel, grid, num_prefix_tokens)
        if bias is not None:
            mask = mask + bias.to(mask.dtype)
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout_p, scale=scale)
