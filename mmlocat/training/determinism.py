"""What ``randomness.deterministic=True`` needs on a GPU before a training, and what it cannot have there.

mmengine calls ``torch.use_deterministic_algorithms(True)``: PyTorch takes slower kernels that repeat themselves, and
raises an error where it has none. Warnings instead of errors would not do: with them it leaves the gradient of its
memory-efficient attention as it is, which adds in any order.
"""

from __future__ import annotations

import os
from typing import List

import torch
from mmengine.config import Config
from torch import nn

from .context import Context


def is_deterministic(config: Config) -> bool:
    """Whether a config asks for runs that repeat themselves to the last bit."""
    return bool((config.get('randomness') or {}).get('deterministic'))


def prepare_determinism(config: Config, context: Context) -> List[str]:
    """Asks cuBLAS for products that repeat themselves, if the config wants them; mmengine leaves that to the user.

    PyTorch reads the variable once, at a process's first product on a GPU, so this comes before the Runner. A value
    that is set stays.
    """
    if is_deterministic(config):
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    return []


def check_determinism(config: Config, context: Context) -> List[str]:
    """Makes sure that a model has deterministic gradients on CUDA; without that its first step would be the last.

    Average pooling to a fixed size (UperNet's pyramid, PSPNet) has none in PyTorch 2.1 to 2.14, except to 1 x 1, which
    is a mean. When ``torch.use_deterministic_algorithms`` does not list ``AdaptiveAvgPool2d`` any more, this can go.

    Raises:
        RuntimeError: It has not; the message names the module.
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
