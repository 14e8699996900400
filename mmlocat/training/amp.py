"""Runs mixed precision on a CPU, where mmengine's ``AmpOptimWrapper`` asserts a GPU."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, List, Optional, Union

import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from .config_types import resolve_type
from .context import Context
from .private import set_loss_scale_update

_DTYPES = {'bfloat16': torch.bfloat16, 'float16': torch.float16}


def cpu_autocast_dtype(dtype: Union[str, torch.dtype, None]) -> torch.dtype:
    """Returns the dtype of CPU autocast that ``optim_wrapper.dtype`` asks for.

    Args:
        dtype: 'bfloat16', 'float16' or the torch.dtype; None for bfloat16.

    Raises:
        ValueError: ``dtype`` is another one.
        RuntimeError: It is float16, and this torch cannot scale losses on a CPU.
    """
    name = str(dtype or 'bfloat16').replace('torch.', '')
    if name not in _DTYPES:
        raise ValueError(f'optim_wrapper.dtype={name}: mixed precision on a CPU takes {" or ".join(_DTYPES)}; '
                         "for float32 leave out --amp, or set optim_wrapper.type='OptimWrapper'")
    if name == 'float16' and not _scales_on_cpu():
        raise RuntimeError(f'optim_wrapper.dtype=float16 on a CPU needs torch 2.3 or newer, which scales losses there; '
                           f'this is {torch.__version__}: use --cfg-options optim_wrapper.dtype=bfloat16')
    return _DTYPES[name]


def _scales_on_cpu() -> bool:
    return hasattr(torch.amp, 'GradScaler')


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper`` on CPU autocast.

    bfloat16 has float32's range and needs no loss scale: ``loss_scale`` takes effect in float16 only. Accumulation,
    clipping and the scaler's entry in checkpoints work as in the parent class.

    Args:
        loss_scale: 'dynamic', a fixed scale, or the arguments of ``torch.amp.GradScaler``. Defaults to 'dynamic'.
        dtype: 'bfloat16' (default) or 'float16', which needs torch 2.3.
        **kwargs: Arguments of mmengine's ``OptimWrapper``.

    Raises:
        ValueError: ``dtype`` is another one.
        RuntimeError: float16 is asked for, and this torch has no loss scaler for CPUs.
        TypeError: ``loss_scale`` is something else.
    """

    def __init__(self,
                 loss_scale: Union[str, float, dict] = 'dynamic',
                 dtype: Union[str, torch.dtype, None] = None,
                 **kwargs: Any) -> None:
        OptimWrapper.__init__(self, **kwargs)  # the parent's own would assert a GPU
        self.cast_dtype = cpu_autocast_dtype(dtype)
        fixed_scale: Optional[float] = None
        if loss_scale == 'dynamic':
            options = {}
        elif isinstance(loss_scale, (int, float)) and not isinstance(loss_scale, bool):
            options = dict(init_scale=float(loss_scale))
            fixed_scale = options['init_scale']
        elif isinstance(loss_scale, dict):
            options = dict(loss_scale)
        else:
            raise TypeError(f"optim_wrapper.loss_scale must be 'dynamic', a number, or the arguments of GradScaler; "
                            f'got {loss_scale!r}')
        if self.cast_dtype != torch.float16:
            options, fixed_scale = dict(enabled=False), None  # the scaler passes losses and steps on unchanged
        set_loss_scale_update(self, fixed_scale)
        if _scales_on_cpu():
            self.loss_scaler = torch.amp.GradScaler('cpu', **options)
        else:
            self.loss_scaler = torch.cuda.amp.GradScaler(**options)

    def state_dict(self) -> dict:
        """Returns the states of optimizer and loss scaler; leaves out an idle scaler's, which a GPU's cannot load."""
        return {key: value for key, value in super().state_dict().items() if key != 'loss_scaler' or value}

    def load_state_dict(self, state_dict: dict) -> None:
        """Loads the states of optimizer and loss scaler; a bfloat16 or float32 checkpoint has no scaler state.

        Args:
            state_dict: The state of this wrapper, or of any of mmengine's.
        """
        if not state_dict.get('loss_scaler', True):
            state_dict = {key: value for key, value in state_dict.items() if key != 'loss_scaler'}
        super().load_state_dict(state_dict)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Turns on CPU autocast in ``dtype``, and skips the gradient exchange while gradients accumulate.

        Args:
            model: The training model.
        """
        with OptimWrapper.optim_context(self, model), torch.autocast('cpu', dtype=self.cast_dtype):
            yield


def enable_amp(config: Config) -> None:
    """Turns on mixed precision in a config, as ``--amp`` of OpenMMLab's tools does.

    Args:
        config: A training config; changed in place.

    Raises:
        ValueError: Its ``optim_wrapper`` has no mixed-precision version.
    """
    kind = _wrapper_of(config)
    if kind is not OptimWrapper and not (isinstance(kind, type) and issubclass(kind, AmpOptimWrapper)):
        raise ValueError(f"--amp needs optim_wrapper.type='OptimWrapper', got {config.optim_wrapper.type!r}; leave out "
                         '--amp, or set that')
    if kind is OptimWrapper:
        config.merge_from_dict({'optim_wrapper.type': 'AmpOptimWrapper'})
    config.optim_wrapper.setdefault('loss_scale', 'dynamic')


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
        The dtype it will compute in; None where the config asks for no mixed precision.

    Raises:
        ValueError: CPU autocast does not support ``optim_wrapper.dtype``.
        RuntimeError: It is float16, and this torch cannot scale losses on a CPU.
    """
    if _wrapper_of(config) not in (AmpOptimWrapper, CPUAmpOptimWrapper):
        return None
    wrapper = config.optim_wrapper
    dtype = cpu_autocast_dtype(wrapper.get('dtype'))
    wrapper.type = 'CPUAmpOptimWrapper'
    wrapper.pop('use_fsdp', None)
    return str(dtype).replace('torch.', '')
