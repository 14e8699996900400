"""Tells whether this version of PyTorch computes its own attention correctly in float16 on a CPU."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn.functional import scaled_dot_product_attention

from .recording import constant_in_graphs


@constant_in_graphs
def attends_in_float16_on_cpu() -> bool:
    """Tells whether PyTorch's attention takes float16 (2.1's does not) and does not overflow (2.4's does)."""
    return _attends_in_float16_on_cpu()


@lru_cache(maxsize=None)
def _attends_in_float16_on_cpu() -> bool:
    large = torch.full((1, 1, 2, 2), 1000., dtype=torch.float16, device='cpu')
    try:
        return scaled_dot_product_attention(large, large, large).isfinite().all().item()
    except RuntimeError:
        return False
