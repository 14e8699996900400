"""What only the streaming back-end has: blocks, rows out of reach, a dropout mask drawn twice."""

import pytest
import torch
from conftest import assert_close

from mmlocat.attention import GaussianKernel, gaussian_attention, streaming


def case(grid, prefix=1, dtype=torch.float64, variance=1.0):
    patches = grid[0] * grid[1]
    leaves = [torch.randn(1, 2, prefix + patches, 8, dtype=dtype) for _ in range(3)]
    leaves += [torch.full((1, 2, patches, 2), variance, dtype=dtype), torch.rand(1, 2, patches, 1, dtype=dtype)]
    return [leaf.requires_grad_() for leaf in leaves]


def attend(leaves, grid, backend='streaming', prefix=1, **options):
    return gaussian_attention(*leaves, kernel=GaussianKernel(14), grid=grid, num_prefix_tokens=prefix, backend=backend,
                              **options)


def gradients(leaves, grid, **options):
    out = attend(leaves, grid, **options)
    direction = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return [out, *torch.autograd.grad(out, leaves, direction)]


def test_many_blocks_with_a_short_last_one(monkeypatch):
    monkeypatch.setattr(streaming, '_MIN_BLOCK', 8)
    monkeypatch.setattr(streaming, '_BLOCK_BYTES', 1)
    grid = (9, 7)
    assert len(list(streaming._blocks(64, 1))) == 9 and list(streaming._blocks(64, 1))[-1] == (57, 64)
    leaves = case(grid)
    for actual, expected in zip(gradients(leaves, grid), gradients(leaves, grid, backend='dense')):
        assert expected.abs().max() > 0
        assert_close(actual, expected, 1e-12)


def test_rows_out_of_reach_are_left_out_and_change_nothing(monkeypatch):
    monkeypatch.setattr(streaming, '_BLOCK_BYTES', 1)  # 32 queries a block, 2 of 24 rows
    grid, added = (24, 16), []
    original = streaming._add_bias
    monkeypatch.setattr(streaming, '_add_bias', lambda *args: (added.append(args[-1]), original(*args)))
    leaves = case(grid, dtype=torch.float32)
    narrow = gradients(leaves, grid)
    heights = {last - first for first, last in added}
    assert max(heights) < 24 and min(heights) > 2
    added.clear()
    monkeypatch.setattr(streaming, '_NEGLIGIBLE', {torch.float32: -1.0})
    whole = gradients(leaves, grid)
    assert {last - first for first, last in added} == {24}
    assert torch.equal(narrow[0], whole[0])  # not one bit of the output
    for actual, expected in zip(narrow, whole):
        assert_close(actual, expected, 1e-7)


def test_the_backward_pass_draws_the_same_dropout_mask():
    grid, leaves = (4, 3), case((4, 3))

    def f(*args):
        torch.manual_seed(5)
        return attend(args, grid, dropout_p=0.4)

    assert torch.autograd.gradcheck(f, leaves)
    assert not torch.allclose(f(*leaves), attend(leaves, grid))


def test_keeps_nothing_of_size_n_by_n():
    grid, kept = (20, 20), []
    leaves = case(grid)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        attend(leaves, grid)
    assert kept and max(kept) <= 2 * 400 * 20 < 401 * 401


def test_a_second_derivative_is_refused():
    leaves = case((3, 3))
    first, = torch.autograd.grad(attend(leaves, (3, 3)).square().sum(), leaves[:1], create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        first.sum().backward()
