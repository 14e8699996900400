"""Tells whether a graph is being recorded (torch.compile, torch.export, ONNX), where some steps take another form."""

from __future__ import annotations

import torch
from torch import Tensor

# PyTorch 2.1 does not have it.
_RECORDING = getattr(torch.compiler, 'is_compiling', None)


# Called once while a graph is recorded; its result becomes a constant of the graph.
constant_in_graphs = torch.compiler.assume_constant_result


def is_exporting() -> bool:
    """Tells whether torch.export, or the ONNX exporter that uses it, is recording a graph for images of any size.

    Sizes are symbols then: what depends on them must be an operation, for a branch would bind the graph to one size.
    """
    # This is the flag behind torch.compiler.is_exporting(), which torch.compile of PyTorch 2.11 takes for True (fixed
    # by 2.14). A PyTorch that has neither cannot record graphs for images of any size.
    return getattr(torch.compiler, '_is_exporting_flag', False)


def is_recording() -> bool:
    """Tells whether a graph is being recorded, by torch.compile or for an export (see ``is_exporting``)."""
    return _RECORDING is not None and _RECORDING()


def merge_heads(heads: Tensor) -> Tensor:
    """Returns tokens (B, N, C) for heads (B, h, N, d).

    PyTorch's attention returns a layout of which this is a view. An exported graph must not rely on that, because the
    ONNX exporter replaces the attention by one with another layout.
    """
    tokens = heads.transpose(1, 2)
    return (tokens.clone(memory_format=torch.contiguous_format) if is_exporting() else tokens).flatten(2)
