"""Chooses the back-end of a call: the named one, or for 'auto' the first of a short list that can run it."""

from __future__ import annotations

import logging
from functools import lru_cache
from types import ModuleType
from typing import Dict, Optional, Sequence, Tuple

import torch
from torch import Tensor

from . import dense, sdpa, streaming, triton_backend
from .calls import Request
from .pytorch import is_recording

_BACKENDS: Dict[str, ModuleType] = {
    'dense': dense,
    'sdpa': sdpa,
    'streaming': streaming,
    'triton': triton_backend,
}
# 'auto' takes 'sdpa' while its mask has at most this many entries, B * h * N * N, else 'streaming', each if it can run.
# The crossing points on a CPU, (without, with) gradients, were measured (see README.md): writing a small mask is faster
# than cutting a call into tiles; with gradients PyTorch takes its quadratic path. On a CPU float16 is slow in every
# product, but less so in one large product. 'auto' never takes 'dense', which is the oracle of the tests.
_SDPA_UP_TO_ON_CPU = {
    torch.float64: (1 << 22, 1 << 21),
    torch.float32: (1 << 22, 1 << 21),
    torch.bfloat16: (1 << 17, 1 << 18),
    torch.float16: (1 << 24, 1 << 22),
}
# On a GPU 'triton' comes first. Second is 'sdpa': it took 7x and 8x plain attention where 'streaming' took 21x and 35x
# (H200, bfloat16, batch 8, 12 heads, grids 32 and 64), so only memory limits it: in inference there is one mask at a
# time, in training one mask for each block is kept for the backward pass.
_SDPA_UP_TO_ELSEWHERE = (1 << 31, 1 << 27)


def available_backends() -> Tuple[str, ...]:
    """Returns the names that ``backend=`` takes."""
    return ('auto', *_BACKENDS)


def check_backend(backend: str) -> str:
    """Returns ``backend`` if it is a known name; otherwise raises a ValueError that lists the known names."""
    if backend not in available_backends():
        raise ValueError(
            f'unknown attention back-end {backend!r}; choose one of {", ".join(available_backends())}')
    return backend


def unable(backend: str, query: Tensor, needs_grad: bool, **more) -> Optional[str]:
    """Returns why a named back-end cannot take such queries, or None if it can; arguments as in ``Request``."""
    return _BACKENDS[backend].can_run(Request(query, needs_grad, **more))


def choose(backend: str, request: Request) -> ModuleType:
    """Returns the module that computes a call.

    Args:
        backend: One of ``available_backends()``.
        request: The call.

    Raises:
        ValueError: There is no such back-end.
        RuntimeError: No back-end that may be taken can run this call; the message says why and what can.
    """
    query = request.query
    if check_backend(backend) != 'auto':
        reason = _BACKENDS[backend].can_run(request)
        if reason is None:
            return _BACKENDS[backend]
        able = [name for name, module in _BACKENDS.items() if module.can_run(request) is None]
        raise RuntimeError(f'attention back-end {backend!r} cannot run here: {reason}; these can: {", ".join(able)}')
    for name in automatic_order(query.shape[:3], query.device.type, query.dtype, request.needs_grad):
        if _BACKENDS[name].can_run(request) is None:
            if not is_recording():
                _log_choice(name, query.device.type, query.dtype)
            return _BACKENDS[name]
    raise RuntimeError(f'no automatic attention back-end for {query.device.type} and {query.dtype}; '
                       "backend='dense' always runs")


@lru_cache(maxsize=None)  # so each choice is logged once
def _log_choice(name: str, device_type: str, dtype: torch.dtype) -> None:
    logging.getLogger('mmlocat').info('attention back-end on %s in %s: %s', device_type, str(dtype)[6:], name)


def automatic_order(shape: Sequence[int], device_type: str, dtype: torch.dtype, needs_grad: bool) -> Tuple[str, ...]:
    """Returns the back-ends that ``auto`` tries, in order, for queries of shape (B, h, N)."""
    first = ('triton', ) if device_type == 'cuda' else ()
    if is_recording():  # a look at the sizes would bind the graph to them
        return (*first, 'sdpa')
    batch, heads, num_tokens = shape
    limits = _SDPA_UP_TO_ELSEWHERE
    if device_type == 'cpu':
        limits = _SDPA_UP_TO_ON_CPU.get(dtype, limits)
    small = batch * heads * num_tokens**2 <= limits[needs_grad]
    return (*first, *(('sdpa', 'streaming') if small else ('streaming', 'sdpa')))
