"""One call of attention, as back-ends see it when they are asked whether they can run it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Request(NamedTuple):
    """One call of attention, as far as a back-end may refuse it."""

    query: Tensor  # (B, h, N, d); its device, dtype and shape count
    needs_grad: bool  # whether any input needs a gradient
    dropout_p: float = 0.0
    has_bias: bool = False  # whether other terms than the Gaussian are added to the logits
    scale: float = 1.0  # on q k^T
