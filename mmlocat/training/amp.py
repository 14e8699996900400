"""Runs mixed precision on a CPU, where mmengine's ``AmpOptimWrapper`` asserts a GPU."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, List, Optional

import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from mmlocat.config import resolve_type

from .context import Context


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Trains in bfloat16 by CPU autocast. It has float32's range, so that losses need no scale."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Turns on CPU autocast, and skips the gradient exchange while gradients accumulate.

        Args:
            model: The training model.
        """
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield


def enable_amp(config: Config) -> None:
    """Turns on mixed precision in a config, as ``--amp`` of OpenMMLab's tools does.

    Args:
        config: A training config; changed in place.

    Raises:
        ValueError: Its ``optim_wrapper`` has no mixed-precision version.
    """
    kind = _wrapper_of(config)
    if kind is OptimWrapper:
        config.merge_from_dict({'optim_wrapper.type': 'AmpOptimWrapper'})
    elif not isinstance(kind, type) or not issubclass(kind, (AmpOptimWrapper, CPUAmpOptimWrapper)):
        raise ValueError(f"--amp needs optim_wrapper.type='OptimWrapper', got {config.optim_wrapper.type!r}; leave out "
                         '--amp, or set that')


def check_precision(config: Config, context: Context) -> List[str]:
    """Refuses ``optim_wrapper.dtype`` without mixed precision; mmengine's ``OptimWrapper`` has no such argument.

    Raises:
        ValueError: The config sets it.
    """
    if 'dtype' in (config.get('optim_wrapper') or {}) and _wrapper_of(config) is OptimWrapper:
        raise ValueError(f'optim_wrapper.dtype={config.optim_wrapper.dtype} is of mixed precision: add --amp, or leave '
                         'it out for float32')
    return []


def _wrapper_of(config: Config) -> Any:
    wrapper = config.get('optim_wrapper') or {}
    return resolve_type(wrapper, OPTIM_WRAPPERS, config.get('default_scope')) or OptimWrapper


def move_amp_to_cpu(config: Config) -> Optional[str]:
    """Replaces mmengine's ``AmpOptimWrapper`` in a config by the one for CPUs.

    Args:
        config: A training config; changed in place.

    Returns:
        The dtype it will compute in, bfloat16; None where the config asks for no mixed precision.

    Raises:
        ValueError: ``optim_wrapper.dtype`` is neither float16 nor bfloat16.
    """
    if _wrapper_of(config) is not AmpOptimWrapper:
        return None
    wrapper = config.optim_wrapper
    dtype = str(wrapper.get('dtype') or 'bfloat16').replace('torch.', '')
    if dtype not in ('bfloat16', 'float16'):
        raise ValueError(f'optim_wrapper.dtype={dtype}: mixed precision takes bfloat16 or float16; for float32 leave '
                         "out --amp, or set optim_wrapper.type='OptimWrapper'")
    for name in ('dtype', 'loss_scale', 'use_fsdp'):  # of GPUs
        wrapper.pop(name, None)
    wrapper.type = 'CPUAmpOptimWrapper'
    return 'bfloat16'
