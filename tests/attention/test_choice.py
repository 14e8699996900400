"""Which back-end is taken: the named one or none, and what 'auto' goes by."""

import logging

import pytest
import torch

from mmlocat.attention import GaussianKernel, choice, gaussian_attention


def random_case(grid, prefix, batch=2, heads=2, dims=16, dtype=torch.float64):
    query = torch.randn(batch, heads, prefix + grid[0] * grid[1], dims, dtype=dtype, requires_grad=True)
    shape = (batch, heads, grid[0] * grid[1])
    variance, alpha = torch.ones(*shape, 2, dtype=dtype), torch.ones(*shape, 1, dtype=dtype)
    return GaussianKernel(6), (query, query.detach(), query.detach(), variance, alpha)


def attend(kernel, leaves, grid, prefix, backend):
    return gaussian_attention(*leaves, kernel=kernel, grid=grid, num_prefix_tokens=prefix, backend=backend)


def test_a_named_back_end_never_falls_back(monkeypatch):
    kernel, leaves = random_case((2, 2), 0)
    monkeypatch.setattr(choice.sdpa, 'can_run', lambda request: 'it is Monday')
    with pytest.raises(RuntimeError, match="'sdpa' cannot run here: it is Monday; these can: dense, streaming"):
        attend(kernel, leaves, (2, 2), 0, 'sdpa')
    attend(kernel, leaves, (2, 2), 0, 'auto')  # goes on to the next
    monkeypatch.setattr(choice.streaming, 'can_run', lambda request: 'nor do I')
    with pytest.raises(RuntimeError, match="backend='dense' always runs"):
        attend(kernel, leaves, (2, 2), 0, 'auto')


def test_auto_logs_each_choice_once(caplog, monkeypatch):
    monkeypatch.setattr(choice, '_logged', set())
    with caplog.at_level(logging.INFO, 'mmlocat'):
        for grid in ((2, 2), (2, 2), (40, 40), (40, 40), (3, 3)):
            kernel, leaves = random_case(grid, 0, batch=1, heads=1, dims=4, dtype=torch.float32)
            attend(kernel, leaves, grid, 0, 'auto')
    assert [record.message for record in caplog.records] == ['attention back-end on cpu in float32: sdpa',
                                                             'attention back-end on cpu in float32: streaming']


@pytest.mark.parametrize('dtype, needs_grad, first',
                         [(torch.float32, False, 'sdpa'), (torch.float32, True, 'streaming'),
                          (torch.bfloat16, False, 'streaming'), (torch.float16, True, 'sdpa')])
def test_auto_goes_by_dtype_and_gradients(dtype, needs_grad, first):
    """12 heads at grid 23, where the four differ."""
    assert choice.automatic_order((1, 12, 530), 'cpu', dtype, needs_grad)[0] == first
