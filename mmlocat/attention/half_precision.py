"""Tells whether PyTorch's own attention computes float16 on a CPU, which depends on its version."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn.functional import scaled_dot_product_attention

from .recording import constant_in_graphs


@constant_in_graphs
def attends_in_float16_on_cpu() -> bool:
    """Tells whether it takes float16, which that of 2.1 does not, and does not overflow, as that of 2.4 does."""
    return _attends_in_float16_on_cpu()


@lru_cache(maxsize=None)
def _attends_in_float16_on_cpu() -> bool:
    large = torch.full((1, 1, 2, 2), 1000., dtype=torch.float16, device='cpu')
    try:
        return scaled_dot_product_attention(large, large, large).isfinite().all().item()
    except RuntimeError:
        return False
