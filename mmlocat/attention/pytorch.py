"""Knows what PyTorch is doing (recording a graph, autocasting) and what its version can."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Callable, ContextManager

import torch
from torch import Tensor

# Whether PyTorch's own attention takes float16 on a CPU (2.1's does not) and does not overflow (2.4's does).
ATTENDS_IN_FLOAT16_ON_CPU = torch.__version__ >= (2, 6)
# Tells whether a graph is being recorded, by torch.compile or for an export (see ``is_exporting``); 2.1 cannot tell.
is_recording: Callable[[], bool] = getattr(torch.compiler, 'is_compiling', lambda: False)


def is_exporting() -> bool:
    """Tells whether torch.export, or the ONNX exporter that uses it, is recording a graph for images of any size.

    Sizes are symbols then: what depends on them must be an operation, for a branch would bind the graph to one size.
    """
    # This is the flag behind torch.compiler.is_exporting(), which torch.compile of PyTorch 2.11 takes for True (fixed
    # by 2.14). A PyTorch that has neither cannot record graphs for images of any size.
    return getattr(torch.compiler, '_is_exporting_flag', False)


def is_cpu_inference(*tensors: Tensor) -> bool:
    """Tells whether a CPU computes with the tensors at once and for the result alone: no graph, and no gradients.

    What is computed then may be written in place, and in the layout that is fastest.
    """
    if is_recording() or any(tensor.device.type != 'cpu' for tensor in tensors):
        return False
    return not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in tensors)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Returns half-precision tensors as float32 and leaves wider ones alone."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def without_autocast(tensor: Tensor) -> ContextManager:
    """Switches autocast off on the device of ``tensor``; does nothing on the meta device, which has no autocast."""
    return nullcontext() if tensor.device.type == 'meta' else torch.autocast(tensor.device.type, enabled=False)


def merge_heads(heads: Tensor) -> Tensor:
    """Returns tokens (B, N, C) for heads (B, h, N, d).

    PyTorch's attention returns a layout of which this is a view. An exported graph must not rely on that, because the
    ONNX exporter replaces the attention by one with another layout.
    """
    tokens = heads.transpose(1, 2)
    return (tokens.clone(memory_format=torch.contiguous_format) if is_exporting() else tokens).flatten(2)
