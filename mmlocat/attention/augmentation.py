"""The two small linear layers with which each query predicts its own Gaussian."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import Iterator, Tuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .kernel import GaussianKernel, Grid

_STD = 0.02
# softplus(-10) = 4.5e-5 of a logit: outputs stay within 1e-4 of the plain model's, and no gradient vanishes.
_IDENTITY_BIAS = -10.


@contextmanager
def independent_random_state() -> Iterator[None]:
    """Gives the block a random state of its own, drawn from PyTorch's, which afterwards is as it was.

    So one seed gives LocAtViT and the plain ViT the same weights wherever both have them, and what is
    drawn inside shares no number with what is drawn next outside.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the GPUs' generators too.
        torch.default_generator.manual_seed(int(torch.randint(2**31, (), device='cpu')))
        yield


class _FloatLinear(nn.Linear):
    """A linear layer that torch.ao.quantization leaves alone, for it replaces those of PyTorch's own class."""


class GaussianAugmentation(nn.Module):
    """Predicts variance and scale of each query's Gaussian: 3d + 3 parameters a block.

    The names of the layers are those of published checkpoints.

    Args:
        head_dims: d, channels of one head; all heads share the two layers.
        kernel: The constants of the pretraining grid.
    """

    def __init__(self, head_dims: int, kernel: GaussianKernel) -> None:
        super().__init__()
        self.kernel = kernel
        with independent_random_state():
            self.log_var = _FloatLinear(head_dims, 2)
            self.log_alpha = _FloatLinear(head_dims, 1)
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts near variance 1 and alpha ln 2: truncated normal 0.02, bias 0.

        Drawn on the CPU wherever the weights are, because only its random state is set aside.
        """
        for layer in (self.log_var, self.log_alpha):
            # The inverse of the normal distribution function, as MMEngine draws: nn.init differs between versions.
            drawn = torch.empty(layer.weight.shape, device='cpu').uniform_(-1, 1)
            drawn.erfinv_().mul_(_STD * math.sqrt(2)).clamp_(-2, 2)
            with torch.no_grad():
                layer.weight.copy_(drawn)
                layer.bias.zero_()

    def start_as_identity(self) -> None:
        """Makes alpha vanish almost: attention begins as a plain ViT's, and all weights still have gradients."""
        with torch.no_grad():
            self.log_alpha.bias.fill_(_IDENTITY_BIAS)

    def forward(self, query: Tensor, grid: Grid) -> Tuple[Tensor, Tensor]:
        """Returns variance (B, h, H*W, 2) and alpha (B, h, H*W, 1) for patch queries (B, h, H*W, d)."""
        # One product for both layers: on small grids the number of operations counts.
        weight = torch.cat([self.log_var.weight, self.log_alpha.weight])
        logits = linear(query, weight, torch.cat([self.log_var.bias, self.log_alpha.bias]))
        return self.kernel.variance(logits[..., :2], grid), self.kernel.alpha(logits[..., 2:])
