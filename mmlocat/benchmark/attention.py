"""Measures time and memory of GAug attention by back-end beside plain attention, once all agree with the oracle.

GAug starts from q, k and v: it predicts variance and alpha, and its gradients reach q through both.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from functools import partial
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mmlocat.attention import GaussianAttention, GaussianKernel, available_backends
from mmlocat.attention.backends import automatic_order, unable

from .measure import Result, peak_growth, results

PLAIN = 'plain'
PASSES = ('forward', 'forward + backward')
# The oracle holds several tensors of grid^4 * 2 entries a head, so it computes all heads up to the first grid, and one
# head up to the second.
_ALL_HEADS, _LARGEST_ORACLE = 32, 64
# Allowed errors of output and gradients, as shares of the largest exact entry of each.
TOLERANCE = {torch.float64: (1e-10, 1e-9), torch.float32: (1e-5, 1e-4), torch.bfloat16: (3e-2, 6e-2),
             torch.float16: (4e-3, 8e-3)}


class Case(NamedTuple):
    """One case to measure: a call of attention with one prefix token and a pretraining grid of 14 x 14."""

    grid: Union[int, Tuple[int, int]]
    heads: int
    head_dims: int = 64
    dtype: str = 'float32'
    device: str = 'cpu'
    batch: int = 1

    @property
    def size(self) -> Tuple[int, int]:
        """Rows and columns of patches."""
        return (self.grid, self.grid) if isinstance(self.grid, int) else tuple(self.grid)

    @property
    def tokens(self) -> int:
        """N, the prefix token included."""
        return self.size[0] * self.size[1] + 1

    @property
    def shown(self) -> Dict[str, Any]:
        """The fields of the case that tables show."""
        grid = str(self.grid) if isinstance(self.grid, int) else ' x '.join(map(str, self.grid))
        return dict(grid=grid, batch=self.batch, heads=self.heads, dtype=self.dtype)


class Inputs:
    """The inputs of a case: q, k and v, views of one projection's output as in a ViT, and GAug's two small layers."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        dtype = getattr(torch, case.dtype)
        shape = (case.batch, case.tokens, 3, case.heads, case.head_dims)
        qkv = torch.randn(shape, device=case.device, dtype=dtype)
        self.leaves = [tensor.detach().requires_grad_() for tensor in qkv.permute(2, 0, 3, 1, 4).unbind(0)]
        self.direction = torch.randn(shape[:2] + shape[3:], device=case.device, dtype=dtype).transpose(1, 2)
        self.gaug = GaussianAttention(case.head_dims, GaussianKernel(14), 1).to(case.device, dtype)
        self.grid = case.size

    def double(self) -> Inputs:
        """Returns the same numbers in float64."""
        other = object.__new__(Inputs)
        other.leaves = [leaf.detach().double().requires_grad_() for leaf in self.leaves]
        other.direction, other.grid = self.direction.double(), self.grid
        other.gaug = copy.deepcopy(self.gaug).double()
        return other

    def attend(self, name: str) -> Tensor:
        """Returns the output of a back-end, or of plain attention."""
        if name == PLAIN:
            return scaled_dot_product_attention(*self.leaves)
        self.gaug.backend = name
        return self.gaug(*self.leaves, self.grid)

    def run(self, name: str, passes: str) -> List[Tensor]:
        """Returns the output and, with a backward pass, the gradients of q, k, v and, with GAug, of its layers."""
        if passes == 'forward':
            with torch.no_grad():
                return [self.attend(name)]
        out = self.attend(name)
        leaves = self.leaves + ([] if name == PLAIN else list(self.gaug.parameters()))
        return [out.detach(), *torch.autograd.grad(out, leaves, self.direction)]


@contextmanager
def flash_first() -> Iterator[None]:
    """Switches cuDNN's attention off, which some releases of PyTorch prefer to the flash kernel in half precision."""
    cuda = torch.backends.cuda
    if not hasattr(cuda, 'enable_cudnn_sdp'):  # PyTorch before 2.4
        yield
        return
    before = cuda.cudnn_sdp_enabled()
    cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        cuda.enable_cudnn_sdp(before)


def errors(case: Case, names: Sequence[str], passes: str) -> Iterator[Tuple[str, List[float]]]:
    """Yields for every back-end how far it is from the oracle in float64, output first, then each gradient.

    Args:
        case: The case. Grids above 32 are checked with one head, those above 64 at 64; 'auto' is checked as the
            back-end that it takes for the case itself.
        names: Back-ends.
        passes: One of ``PASSES``.

    Yields:
        A name, and its largest errors as shares of the largest exact entry.
    """
    side = max(case.size)
    small = case._replace(grid=case.grid if side <= _LARGEST_ORACLE else _LARGEST_ORACLE, batch=min(case.batch, 2),
                          heads=case.heads if side <= _ALL_HEADS else 1)
    inputs = Inputs(small)
    expected = inputs.double().run('dense', passes)
    for name in names:
        got = inputs.run(taken_by_auto(case, passes) if name == 'auto' else name, passes)
        yield name, [(own.double() - exact).abs().max().item() / exact.abs().max().item()
                     for own, exact in zip(got, expected)]


def taken_by_auto(case: Case, passes: str) -> str:
    """Returns the back-end that 'auto' takes for a case."""
    order = automatic_order((case.batch, case.heads, case.tokens), case.device.split(':')[0],
                            getattr(torch, case.dtype), passes != 'forward')
    return next(name for name in order if reason_against(case, passes, name) is None)


def check_parity(case: Case, names: Sequence[str], passes: str) -> None:
    """Compares every contender with the oracle, see ``errors``.

    Raises:
        RuntimeError: One differs by more than its dtype's tolerance.
    """
    for name, found in errors(case, [name for name in names if name != PLAIN], passes):
        for index, error in enumerate(found):
            tolerance = TOLERANCE[getattr(torch, case.dtype)][index > 0]
            if not error <= tolerance:
                raise RuntimeError(f'{name} is off by {error:.2g} (allowed {tolerance}) in {case}, {passes}')


def reason_against(case: Case, passes: str, name: str) -> Optional[str]:
    """Returns why a back-end cannot take a case, in one line, or None if it can."""
    if name in (PLAIN, 'auto'):
        return None
    query = torch.empty(1, case.heads, 1, case.head_dims, dtype=getattr(torch, case.dtype), device=case.device)
    return unable(name, query, passes != 'forward')


def able(case: Case, passes: str, names: Sequence[str], largest: Mapping[str, int]) -> List[str]:
    """Returns the contenders that can compute a case, each up to its largest grid; plain attention comes first."""
    side = max(case.size)
    return [PLAIN, *(name for name in names
                     if side <= largest.get(name, side) and reason_against(case, passes, name) is None)]


def refusal(case: Case, passes: Sequence[str], names: Sequence[str]) -> Optional[str]:
    """Returns in one line why a named back-end can compute none of the passes, and which can; None if all can.

    Args:
        case: The case; its device, dtype and head size matter.
        passes: Some of ``PASSES``.
        names: Back-ends.
    """
    for name in names:
        reasons = [reason_against(case, each, name) for each in passes]
        if all(reasons):
            can = [other for other in available_backends()
                   if not all(reason_against(case, each, other) for each in passes)]
            return f'back-end {name!r} cannot run here: {reasons[0]}; these can: {", ".join(can)}'
    return None


def extra_memory(case: Case, passes: str, name: str) -> Optional[float]:
    """Measures MiB beyond inputs, output and gradients of q, k and v, in this process, after a small warm-up call."""
    Inputs(case._replace(grid=4)).run(name, passes)
    growth, kept = peak_growth(partial(Inputs(case).run, name, passes), case.device)
    return None if growth is None else (growth - sum(t.numel() * t.element_size() for t in kept[:4])) / 2**20


def measure(case: Case, passes: str, names: Sequence[str], seconds: float, largest: Mapping[str, int],
            with_memory: bool) -> List[Result]:
    """Checks parity, then times the contenders of a case in turns, and measures each one's memory in its own process.

    Args:
        case: The case.
        passes: One of ``PASSES``.
        names: Back-ends; those that cannot compute the case are left out.
        seconds: Time for the turns.
        largest: By name, the largest grid on which a contender takes part, for those that have a limit.
        with_memory: Whether to measure memory.
    """
    contenders = able(case, passes, names, largest)
    check_parity(case, contenders, passes)
    inputs = Inputs(case)
    runs = {name: partial(inputs.run, name, passes) for name in contenders}
    return results(case, passes, runs, PLAIN, seconds, extra_memory if with_memory else None)
