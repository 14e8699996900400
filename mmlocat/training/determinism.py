"""Prepares ``randomness.deterministic=True`` on a GPU, and refuses models that have no deterministic gradient there.

mmengine calls ``torch.use_deterministic_algorithms(True)``: PyTorch takes slower, deterministic kernels, and raises an
error where it has none. Warnings instead of errors are not enough: with them PyTorch keeps the non-deterministic
gradient of its memory-efficient attention, which sums in any order.
"""

from __future__ import annotations

import os
from typing import List

import torch
from mmengine.config import Config
from torch import nn

from .context import Context


def is_deterministic(config: Config) -> bool:
    """Whether a config asks for runs that are reproducible to the last bit."""
    return bool((config.get('randomness') or {}).get('deterministic'))


def prepare_determinism(config: Config, context: Context) -> List[str]:
    """Asks cuBLAS for deterministic matrix products, if the config is deterministic; mmengine leaves that to the user.

    PyTorch reads the variable once, at a process's first product on a GPU, so this runs before the Runner is built. A
    value that is already set stays.
    """
    if is_deterministic(config):
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    return []


def check_determinism(config: Config, context: Context) -> List[str]:
    """Makes sure that a model has deterministic gradients on CUDA; otherwise its first backward pass would fail.

    Average pooling to a fixed size (UperNet's pyramid, PSPNet) has none in PyTorch 2.1 to 2.14, except to 1 x 1, which
    is a mean. When ``torch.use_deterministic_algorithms`` does not list ``AdaptiveAvgPool2d`` any more, this can go.

    Raises:
        RuntimeError: It has none; the message names the module.
    """
    if not is_deterministic(config) or not torch.cuda.is_available():
        return []
    for name, module in context.model.named_modules():
        if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size not in (1, (1, 1), [1, 1]):
            raise RuntimeError(
                f'randomness.deterministic=True: {name} (AdaptiveAvgPool2d to {module.output_size}) has no '
                f'deterministic gradient on CUDA in PyTorch {torch.__version__}; leave that option out, take a head '
                'without such pooling, as the *_linear_* configs have it, or train on CPUs (CUDA_VISIBLE_DEVICES=)')
    return []
