"""Computes GAug attention in fused Triton kernels, in the memory of q, k, v and a few numbers a query.

The kernels are imported at the first call only, because not every machine has Triton.
"""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Optional, Tuple

import torch
from torch import Tensor

from ..calls import Request
from ..kernel import GaussianKernel, Grid
from ..pytorch import is_exporting, is_recording
from .configurations import LARGEST_TOKENS

# Under numpy 2 the interpreter of Triton 3.0 and 3.1 silently reads wrong memory.
_OLDEST = (3, 2)
_NUMPY_FOR_INTERPRETER = (3, 7), (2, 4)  # before this Triton, the interpreter raises an error with this numpy or newer
_OLDEST_GPU = (8, 0)
_HEADS = (8, 128)
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def can_run(request: Request) -> Optional[str]:
    """Returns why this back-end cannot take the call, or None if it can."""
    query = request.query
    if is_exporting():
        return 'Triton kernels are compiled for a device, not exported'
    if query.dtype not in _DTYPES:
        return f'the Triton kernels take float32, float16 and bfloat16, not {str(query.dtype)[6:]}'
    if request.dropout_p:
        return f'the Triton kernels have no dropout (dropout_p={request.dropout_p})'
    if not request.scale > 0:
        return f'the Triton kernels take a positive scale, not {request.scale}'
    if query.dim() == 4 and not _HEADS[0] <= query.shape[-1] <= _HEADS[1]:
        return f'the Triton kernels take heads of {_HEADS[0]} to {_HEADS[1]} channels, not {query.shape[-1]}'
    if query.dim() == 4 and not is_recording() and query.shape[2] >= LARGEST_TOKENS:
        return f'the Triton kernels take less than {LARGEST_TOKENS} tokens, not {query.shape[2]}'
    return missing(query.device.type, query.device.index, query.dtype == torch.bfloat16)


def missing(device_type: str, index: Optional[int], bfloat16: bool) -> Optional[str]:
    """Returns what this machine lacks to run the kernels, or None.

    Args:
        device_type: As in ``torch.device.type``.
        index: Index of the GPU; None is the current one.
        bfloat16: Whether the dtype is bfloat16.
    """
    if device_type not in ('cuda', 'cpu'):
        return f'Triton is for CUDA, not {device_type}'
    if torch.version.hip:
        return 'the Triton kernels were compiled for NVIDIA GPUs only, not for ROCm'
    installed = _installed('triton', 'triton-windows', 'pytorch-triton')
    if installed is None:
        return 'Triton is not installed (it comes with the CUDA builds of PyTorch for Linux)'
    if installed < _OLDEST:
        return f'Triton {".".join(map(str, installed))} is too old: 3.2 is needed, which comes with PyTorch 2.6'
    if os.environ.get('TRITON_INTERPRET') == '1':
        if installed < _NUMPY_FOR_INTERPRETER[0] and _installed('numpy') >= _NUMPY_FOR_INTERPRETER[1]:
            return f'the interpreter of Triton {installed[0]}.{installed[1]} needs numpy below 2.4'
        # The interpreter's tl.dot multiplies the raw bits of bfloat16 (Triton 3.2 to 3.8).
        return "Triton's interpreter cannot multiply bfloat16" if bfloat16 else None
    if device_type == 'cpu':
        return "Triton is for CUDA (on a CPU its interpreter runs where TRITON_INTERPRET=1 is set, for tests)"
    if not _has_compiler():
        return 'Triton compiles its launcher and finds no C compiler: install gcc, or name one in the variable CC'
    capability = torch.cuda.get_device_capability(index)
    if capability < _OLDEST_GPU:
        return (f'this GPU has compute capability {capability[0]}.{capability[1]}; the Triton kernels need 8.0 '
                '(A100, RTX 30 and later)')
    return None


# What torch.compiler.assume_constant_result sets (2.1 to 2.14), which imports the whole compiler: a second.
missing._dynamo_marked_constant = True


@lru_cache(maxsize=None)
def _has_compiler() -> bool:
    return bool(os.environ.get('CC') or shutil.which('clang') or shutil.which('gcc'))


@lru_cache(maxsize=None)
def _installed(*names: str) -> Optional[Tuple[int, int]]:
    """Returns major and minor version of the first of these packages that is installed."""
    for name in names:
        try:
            major, minor = version(name).split('.')[:2]
        except PackageNotFoundError:
            continue
        return int(major), int(minor)
    return None


def attend(query: Tensor, key: Tensor, value: Tensor, variance: Tensor, alpha: Tensor, *, kernel: GaussianKernel,
           grid: Grid, num_prefix_tokens: int, scale: float, dropout_p: float,
           bias: Optional[Tensor] = None) -> Tensor:
    """Attends with given Gaussians; see ``gaussian_attention``. ``can_run`` has refused dropout before."""
    return _attend(query, key, value, None, bias, variance, alpha, None, None, kernel, grid, num_prefix_tokens, scale)


def attend_and_predict(query: Tensor, key: Tensor, value: Tensor, gate_query: Optional[Tensor],
                       layers: Tuple[Tensor, Tensor, Tensor, Tensor], *, kernel: GaussianKernel, grid: Grid,
                       num_prefix_tokens: int, scale: float, bias: Optional[Tensor] = None) -> Tensor:
    """Attends with Gaussians that the kernels predict themselves: no tensor of variance or alpha exists.

    Args:
        query: Shape (B, h, N, d).
        key: Likewise.
        value: Likewise.
        gate_query: Shape (B, h, N, d); the tensor that predicts the Gaussians, None for the query itself.
        layers: Weight (2, d) and bias (2, ) of the variance layer, weight (1, d) and bias (1, ) of the alpha layer.
        kernel: The constants of the pretraining grid.
        grid: The current patch grid (H, W).
        num_prefix_tokens: P.
        scale: Factor on q k^T.
        bias: Broadcastable to (B, h, N, N), added to the logits.

    Returns:
        Shape (B, h, N, d).
    """
    return _attend(query, key, value, gate_query, bias, *layers, kernel, grid, num_prefix_tokens, scale)


def _attend(query, key, value, gate_query, bias, spot0, spot1, spot2, spot3, kernel, grid, num_prefix_tokens, scale):
    from . import operator
    inputs = operator.Inputs(query, key, value, gate_query, bias, spot0, spot1, spot2, spot3)
    return operator.attend(inputs, operator.Constants(kernel.ref_grid, grid, num_prefix_tokens, float(scale)))
