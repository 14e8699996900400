"""Faults of PyTorch and Triton that the attention works around: each test fails when its fault is gone."""

import os

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from mmlocat.attention.pytorch import ATTENDS_IN_FLOAT16_ON_CPU
from tests.helpers.faults import needs_fault


def test_the_interpreter_multiplies_bfloat16_as_whole_numbers():
    """Why ``triton`` refuses bfloat16 in the interpreter (``triton_backend.can_run``)."""
    triton = needs_fault('triton', since=(3, 7))
    if os.environ.get('TRITON_INTERPRET') != '1':
        pytest.skip("Triton's interpreter is off")
    tl = triton.language

    @triton.jit
    def product(X, OUT):
        rows, columns = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
        x = tl.load(X + rows * 16 + columns)
        tl.store(OUT + rows * 16 + columns, tl.dot(x, x))

    product.fn.__globals__.setdefault('tl', tl)
    eye, out = torch.eye(16, dtype=torch.bfloat16), torch.zeros(16, 16)
    product[(1, )](eye, out)
    assert not torch.equal(out, torch.eye(16))


def test_attention_in_float16_overflows_on_a_cpu():
    """Why ``sdpa`` and ``streaming`` ask ``pytorch.ATTENDS_IN_FLOAT16_ON_CPU``, which must be true to the machine."""
    large = torch.full((1, 1, 2, 2), 1000., dtype=torch.float16)
    try:
        finite = scaled_dot_product_attention(large, large, large).isfinite().all().item()
    except RuntimeError:
        finite = False
    assert finite or not ATTENDS_IN_FLOAT16_ON_CPU


def test_the_least_of_two_symbols_cannot_be_compiled(fresh_graphs):
    """Why ``GaussianKernel`` compares sides instead of taking ``min``."""
    needs_fault('torch', since=(2, 11), until=(2, 12))
    compiled = torch.compile(lambda x: x * min(x.shape[0], x.shape[1]) ** 0.5, dynamic=True, backend='aot_eager')
    with pytest.raises(Exception):  # noqa: B017  whatever the compiler raises
        for sides in ((3, 5), (7, 4), (5, 9)):
            compiled(torch.ones(sides, requires_grad=True)).sum().backward()
