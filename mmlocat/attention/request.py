"""Defines ``Request``: the properties of an attention call by which a back-end decides whether it can run it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Request(NamedTuple):
    """The properties of an attention call for which a back-end may refuse it."""

    query: Tensor  # (B, h, N, d); only its device, dtype and shape matter
    needs_grad: bool  # whether any input needs a gradient
    dropout_p: float = 0.0
    has_bias: bool = False  # whether other terms than the Gaussian are added to the logits
    scale: float = 1.0  # factor on q k^T
