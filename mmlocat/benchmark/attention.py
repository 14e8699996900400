"""Measures time and memory of GAug attention by back-end beside plain attention, once all agree with the oracle.

GAug starts from q, k and v: it predicts variance and alpha, and its gradients reach q through both.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mmlocat.attention import GaussianAttention, GaussianKernel, available_backends
from mmlocat.attention.backends import unable

from .measure import Result, peak_growth, results

PLAIN = 'plain'
PASSES = ('forward', 'forward + backward')
# The oracle holds several tensors of grid^4 * 2 entries a head, so it computes all heads up to the first grid, and one
# head up to the second.
_ALL_HEADS, _LARGEST_ORACLE = 32, 64
# Largest grids on which these back-ends, which hold N x N tensors, are timed.
_LARGEST = {'dense': 32, 'sdpa': 64}
# Allowed errors of output and gradients, as shares of the largest exact entry of each.
TOLERANCE = {'float64': (1e-10, 1e-9), 'float32': (1e-5, 1e-4), 'bfloat16': (3e-2, 6e-2), 'float16': (4e-3, 8e-3)}


class Case(NamedTuple):
    """One case to measure: a call of attention with one prefix token and a pretraining grid of 14 x 14."""

    grid: Tuple[int, int]  # rows and columns of patches
    heads: int
    head_dims: int = 64
    dtype: str = 'float32'
    device: str = 'cpu'
    batch: int = 1

    @property
    def tokens(self) -> int:
        """N, the prefix token included."""
        return self.grid[0] * self.grid[1] + 1

    @property
    def shown(self) -> Dict[str, Any]:
        """The fields of the case that tables show."""
        return dict(grid=f'{self.grid[0]} x {self.grid[1]}', batch=self.batch, heads=self.heads, dtype=self.dtype)


class Inputs(nn.Module):
    """The inputs of a case: q, k and v, views of one projection's output as in a ViT, and GAug's two small layers."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        torch.manual_seed(0)
        options = dict(device=case.device, dtype=getattr(torch, case.dtype))
        qkv = torch.randn(case.batch, case.tokens, 3, case.heads, case.head_dims, **options)
        self.leaves = nn.ParameterList(qkv.permute(2, 0, 3, 1, 4).unbind(0))
        self.register_buffer('direction', torch.randn_like(qkv[:, :, 0]).transpose(1, 2))
        self.gaug = GaussianAttention(case.head_dims, GaussianKernel(14), 1).to(**options)
        self.grid = case.grid

    def run(self, name: str, passes: str) -> List[Tensor]:
        """Computes attention by a back-end, or plain attention.

        Returns:
            The output and, with a backward pass, the gradients of q, k, v and, with GAug, of its layers.
        """
        leaves = list(self.leaves)
        with torch.set_grad_enabled(passes != 'forward'):
            if name == PLAIN:
                out = scaled_dot_product_attention(*leaves)
            else:
                self.gaug.backend = name
                out = self.gaug(*leaves, self.grid)
                leaves += self.gaug.parameters()
        return [out] if passes == 'forward' else [out.detach(), *torch.autograd.grad(out, leaves, self.direction)]


def errors(case: Case, names: Sequence[str], passes: str) -> Iterator[Tuple[str, float, float]]:
    """Yields for every back-end its largest errors against the oracle in float64, of the output and of any gradient.

    They are shares of the largest exact entry, 0 for gradients without a backward pass. Grids above 32 are checked with
    one head, those above 64 at 64.
    """
    side = max(case.grid)
    inputs = Inputs(case._replace(
        grid=case.grid if side <= _LARGEST_ORACLE else (_LARGEST_ORACLE, _LARGEST_ORACLE),
        heads=case.heads if side <= _ALL_HEADS else 1, batch=min(case.batch, 2)))
    expected = copy.deepcopy(inputs).double().run('dense', passes)
    for name in names:
        output, *gradients = ((own.double() - exact).abs().max().item() / exact.abs().max().item()
                              for own, exact in zip(inputs.run(name, passes), expected))
        yield name, output, max(gradients, default=0.0)


def reason_against(case: Case, name: str) -> Optional[str]:
    """Returns why a back-end cannot take a case, in one line, or None if it can."""
    if name == 'auto':
        return None
    query = torch.empty(1, case.heads, 1, case.head_dims, dtype=getattr(torch, case.dtype), device=case.device)
    return unable(name, query, needs_grad=True)


def _extra_memory(case: Case, passes: str, name: str) -> Optional[float]:
    """Measures MiB beyond inputs, output and gradients of q, k and v, in this process, after a small warm-up call."""
    Inputs(case._replace(grid=(4, 4))).run(name, passes)
    growth, kept = peak_growth(partial(Inputs(case).run, name, passes), case.device)
    return None if growth is None else (growth - sum(t.numel() * t.element_size() for t in kept[:4])) / 2**20


def measure(case: Case, passes: str, names: Optional[Sequence[str]], seconds: float,
            with_memory: bool) -> List[Result]:
    """Checks parity, then times the contenders of a case in turns, and measures each one's memory in its own process.

    Args:
        case: The case.
        passes: One of ``PASSES``.
        names: Back-ends, or None for all that can compute the case; 'dense' and 'sdpa' are left out on large grids.
        seconds: Time for the turns.
        with_memory: Whether to measure memory.

    Raises:
        RuntimeError: A named back-end cannot compute the case, or one differs from the oracle by more than its dtype's
            tolerance.
    """
    names = names or [name for name in available_backends() if reason_against(case, name) is None]
    names = [name for name in names if max(case.grid) <= _LARGEST.get(name, max(case.grid))]
    for name, *found in errors(case, names, passes):
        for error, allowed in zip(found, TOLERANCE[case.dtype]):
            if not error <= allowed:
                raise RuntimeError(f'{name} is off by {error:.2g} (allowed {allowed}) in {case}, {passes}')
    inputs = Inputs(case)
    runs = {name: partial(inputs.run, name, passes) for name in (PLAIN, *names)}
    return results(case, passes, runs, PLAIN, seconds, _extra_memory if with_memory else None)
