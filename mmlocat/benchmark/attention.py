"""GAug attention by back-end against plain attention: time and memory, parity first.

Our side starts from q, k and v: it predicts variance and alpha, and its gradients reach q through both.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mmlocat.attention import GaussianAugmentation, GaussianKernel, gaussian_attention
from mmlocat.attention.api import _BACKENDS, automatic_order

from .measure import Ratio, in_fresh_process, in_turns, peak_growth

PLAIN = 'plain'
PASSES = ('forward', 'forward + backward')
# The oracle needs grid^4 * 2 entries a head several times over: all heads up to the first, one up to the second.
_ALL_HEADS, _LARGEST_ORACLE = 32, 64
# Of the largest entry of the output, and of each gradient.
_TOLERANCE = {torch.float32: (1e-5, 1e-4), torch.bfloat16: (3e-2, 6e-2), torch.float16: (4e-3, 8e-3)}


class Case(NamedTuple):
    """What is measured: one call of attention, batch 1, one prefix token, a pretraining grid of 14 x 14."""

    grid: int
    heads: int
    head_dims: int = 64
    dtype: str = 'float32'
    device: str = 'cpu'


class Result(NamedTuple):
    """One row: a case, a pass and a contender."""

    case: Case
    passes: str
    name: str
    time: Ratio
    extra: Optional[float]  # MiB beyond inputs, output and the gradients of q, k and v


class _Inputs:
    """q, k and v as a ViT makes them, views of one projection's output, and the two small layers of GAug."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        tokens, dtype = case.grid**2 + 1, getattr(torch, case.dtype)
        qkv = torch.randn(1, tokens, 3, case.heads, case.head_dims, device=case.device, dtype=dtype)
        self.leaves = [tensor.detach().requires_grad_() for tensor in qkv.permute(2, 0, 3, 1, 4).unbind(0)]
        direction = torch.randn(1, tokens, case.heads, case.head_dims, device=case.device, dtype=dtype)
        self.direction = direction.transpose(1, 2)
        self.layers = GaussianAugmentation(case.head_dims, GaussianKernel(14)).to(case.device, dtype)
        self.grid = (case.grid, case.grid)

    def attend(self, name: str) -> Tensor:
        query, key, value = self.leaves
        if name == PLAIN:
            return scaled_dot_product_attention(query, key, value)
        variance, alpha = self.layers(query[:, :, 1:], self.grid)
        return gaussian_attention(query, key, value, variance, alpha, kernel=self.layers.kernel, grid=self.grid,
                                  num_prefix_tokens=1, backend=name)

    def run(self, name: str, passes: str) -> List[Tensor]:
        """Returns the output, and for both passes the gradients of q, k, v and, but for plain attention, the layers."""
        if passes == 'forward':
            with torch.no_grad():
                return [self.attend(name)]
        out = self.attend(name)
        leaves = self.leaves + ([] if name == PLAIN else list(self.layers.parameters()))
        return [out.detach(), *torch.autograd.grad(out, leaves, self.direction)]

    def runner(self, name: str, passes: str) -> Callable[[], Any]:
        return lambda: self.run(name, passes)


def check_parity(case: Case, names: Sequence[str], passes: str) -> None:
    """Compares every contender with the oracle in float64, output and all gradients.

    Grids above 32 are checked with one head, above 64 at 64; 'auto' as what it takes for the case itself.

    Raises:
        RuntimeError: One differs by more than its dtype's tolerance.
    """
    small = case._replace(grid=min(case.grid, _LARGEST_ORACLE), heads=case.heads if case.grid <= _ALL_HEADS else 1)
    inputs, oracle = _Inputs(small), _Inputs(small)
    oracle.leaves = [leaf.detach().double().requires_grad_() for leaf in inputs.leaves]
    oracle.direction, oracle.layers = inputs.direction.double(), inputs.layers.double()
    expected = oracle.run('dense', passes)
    inputs.layers = GaussianAugmentation(case.head_dims, GaussianKernel(14)).to(case.device)
    inputs.layers.load_state_dict(oracle.layers.state_dict())
    inputs.layers.to(getattr(torch, case.dtype))
    taken = automatic_order((1, case.heads, case.grid**2 + 1), case.device.split(':')[0], getattr(torch, case.dtype),
                            passes != 'forward')[0]
    for name in names:
        if name == PLAIN:
            continue
        for index, (exact, own) in enumerate(zip(expected, inputs.run(taken if name == 'auto' else name, passes))):
            error = (own.double() - exact).abs().max().item() / exact.abs().max().item()
            tolerance = _TOLERANCE[getattr(torch, case.dtype)][index > 0]
            if not error <= tolerance:
                raise RuntimeError(f'{name} is off by {error:.2g} (allowed {tolerance}) in {small}, {passes}')


def able(case: Case, passes: str, names: Sequence[str], largest: Mapping[str, int]) -> List[str]:
    """Returns the contenders that can take a case, none beyond its largest grid; plain attention first."""
    query = torch.empty(0, dtype=getattr(torch, case.dtype), device=case.device)
    chosen = [PLAIN]
    for name in names:
        if case.grid > largest.get(name, case.grid):
            continue
        if name == 'auto' or _BACKENDS[name].can_run(query, passes != 'forward') is None:
            chosen.append(name)
    return chosen


def extra_memory(case: Case, name: str, passes: str) -> Optional[float]:
    """Measures MiB beyond inputs, output and gradients in this process, after a small warm-up call."""
    _Inputs(case._replace(grid=4)).run(name, passes)
    inputs = _Inputs(case)
    growth, kept = peak_growth(inputs.runner(name, passes), case.device)
    return None if growth is None else (growth - sum(t.numel() * t.element_size() for t in kept[:4])) / 2**20


def measure(case: Case, passes: str, names: Sequence[str], seconds: float, largest: Mapping[str, int],
            with_memory: bool) -> List[Result]:
    """Checks parity, then measures every contender of a case in turns, and its memory in a process of its own.

    Args:
        case: What to call.
        passes: One of ``PASSES``.
        names: Back-ends; those that cannot take the case are left out.
        seconds: Time for the turns.
        largest: The largest grids on which some of them take part, by name.
        with_memory: Whether to measure memory.
    """
    contenders = able(case, passes, names, largest)
    check_parity(case, contenders, passes)
    inputs = _Inputs(case)
    runs: Dict[str, Callable[[], Any]] = {name: inputs.runner(name, passes) for name in contenders}
    times = in_turns(runs, PLAIN, case.device, seconds)
    return [
        Result(case, passes, name, times[name],
               in_fresh_process(extra_memory, case, name, passes) if with_memory else None) for name in contenders
    ]
