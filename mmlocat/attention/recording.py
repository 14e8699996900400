"""Tells whether a graph is being recorded (torch.compile, torch.export, ONNX), where some steps take another form."""

from __future__ import annotations

import torch
from torch import Tensor

# Not in PyTorch 2.1.
_RECORDING = getattr(torch.compiler, 'is_compiling', None)


# Called once while a graph is recorded; what it returns stands in the graph as a constant.
constant_in_graphs = torch.compiler.assume_constant_result


def is_exporting() -> bool:
    """Tells whether torch.export, or the ONNX exporter by it, records a graph for images of any size.

    Sizes are symbols then. What depends on them has to be an operation, for a branch would bind the graph to one size.
    """
    # The flag behind torch.compiler.is_exporting(), which torch.compile of PyTorch 2.11 takes for True; mended by 2.14.
    # Where PyTorch has neither, it does not record graphs for any size.
    return getattr(torch.compiler, '_is_exporting_flag', False)


def is_recording() -> bool:
    """Tells whether a graph is being recorded, by torch.compile or as ``is_exporting`` says."""
    return _RECORDING is not None and _RECORDING()


def merge_heads(heads: Tensor) -> Tensor:
    """Returns tokens (B, N, C) for heads (B, h, N, d).

    PyTorch's attention returns a layout that makes this a view. An exported graph must not rely on it, because the ONNX
    exporter replaces that attention by one of another layout.
    """
    tokens = heads.transpose(1, 2)
    return (tokens.clone(memory_format=torch.contiguous_format) if is_exporting() else tokens).flatten(2)
