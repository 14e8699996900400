"""What only the streaming back-end has: tiles, a dropout mask drawn twice, memory that does not grow with N * N."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from mmlocat.attention import GaussianKernel, gaussian_attention, streaming, tiles
from tests.conftest import assert_close


class LargestTensor(TorchDispatchMode):
    """Notes the most elements that any operation returned."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_flatten(result)[0]:
            if isinstance(leaf, torch.Tensor):
                self.numel = max(self.numel, leaf.untyped_storage().nbytes() // leaf.element_size())
        return result


def case(grid, prefix=1, dtype=torch.float64, batch=1, heads=2, dims=8):
    patches = grid[0] * grid[1]
    leaves = [torch.randn(batch, heads, prefix + patches, dims, dtype=dtype) for _ in range(3)]
    leaves += [torch.rand(batch, heads, patches, 2, dtype=dtype) + 0.5,
               torch.rand(batch, heads, patches, 1, dtype=dtype)]
    return [leaf.requires_grad_() for leaf in leaves]


def attend(leaves, grid, backend='streaming', prefix=1, **options):
    return gaussian_attention(*leaves, kernel=GaussianKernel(14), grid=grid, num_prefix_tokens=prefix, backend=backend,
                              **options)


def gradients(leaves, grid, **options):
    out = attend(leaves, grid, **options)
    direction = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return [out, *torch.autograd.grad(out, leaves, direction)]


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of few queries, keys cut too."""
    monkeypatch.setattr(tiles, 'FORWARD', tiles.Tiles(1, 1, False))
    monkeypatch.setattr(tiles, 'LARGE', 16)
    monkeypatch.setattr(tiles, 'SLICE', 4)
    monkeypatch.setattr(tiles, 'BACKWARD', tiles.Tiles(1, 1024, True))
    monkeypatch.setattr(tiles, 'QUERIES', 8)
    monkeypatch.setattr(tiles, 'MIN_QUERIES', 1)
    monkeypatch.setattr(tiles, 'UNIT', 8)


def plan_of(query, grid, prefix, sizes):
    call = tiles.Call(GaussianKernel(14), grid, prefix, 1.0, 0.0, 0, 2)
    return tiles.plan(query, call, sizes)


@pytest.mark.parametrize('grid', [(11, 7), (23, 9), (5, 40), (1, 100), (100, 1), (2, 2)])
@pytest.mark.parametrize(('batch', 'prefix'), [(1, 1), (3, 5), (2, 0)])
def test_many_tiles_equal_the_oracle(small_tiles, grid, batch, prefix):
    leaves = case(grid, prefix, batch=batch)
    if grid == (23, 9):
        plan = plan_of(leaves[0], grid, prefix, tiles.BACKWARD)
        assert len(plan.groups) == 2 * batch and len(plan.blocks) > 2 and len(plan.bands) > 1
    for actual, expected in zip(gradients(leaves, grid, prefix=prefix),
                                gradients(leaves, grid, prefix=prefix, backend='dense')):
        assert expected.abs().max() > 0
        assert_close(actual, expected, 1e-12)


@pytest.mark.parametrize('sizes', [tiles.FORWARD, tiles.BACKWARD])
@pytest.mark.parametrize(('batch', 'heads', 'grid', 'prefix'), [
    (1, 12, (14, 14), 1), (64, 3, (8, 8), 0), (1, 3, (32, 33), 5), (1, 12, (32, 32), 1), (1, 3, (31, 47), 1),
    (2, 2, (64, 64), 1), (1, 3, (80, 80), 0), (1, 1, (1, 5000), 1), (1, 12, (3, 2), 4)])
def test_tiles_cover_every_score_once(sizes, batch, heads, grid, prefix):
    tokens = prefix + grid[0] * grid[1]
    plan = plan_of(torch.empty(batch, heads, tokens, 1), grid, prefix, sizes)
    covered = torch.zeros(batch, heads)
    for where in plan.groups:
        covered[where] += 1
    assert torch.equal(covered, torch.ones(batch, heads))
    for cuts in (plan.blocks, [tokens for tokens, _ in plan.bands]):
        assert [cut.start for cut in cuts] == [0] + [cut.stop for cut in cuts[:-1]] and cuts[-1].stop == tokens
    for band, rows in plan.bands:
        assert band.stop - band.start == (rows.stop - rows.start) * grid[1] + (prefix if band.start == 0 else 0)
        for block in plan.blocks:
            for where in plan.groups:
                share = [min(cut.stop, limit) - cut.start for cut, limit in zip(where, (batch, heads))]
                assert share[0] * share[1] * (block.stop - block.start) * (band.stop - band.start) <= plan.size


@pytest.mark.parametrize(('grid', 'heads', 'queries'), [((32, 32), 1, 1024), ((64, 64), 1, 1024), ((48, 48), 2, 768),
                                                        ((31, 40), 2, 1240), ((80, 80), 1, 1024)])
def test_slices_of_large_tiles_are_shared_out_evenly(grid, heads, queries):
    """Two threads: slices of 256 in even number, or a head for each."""
    plan = plan_of(torch.empty(1, 12, 1 + grid[0] * grid[1], 1), grid, 1, tiles.FORWARD)
    assert plan.groups[0] == (slice(0, 1), slice(0, heads)) and plan.blocks[0] == slice(0, 1 + queries)
    assert queries % 512 == 0 if heads == 1 else queries >= tiles.LARGE


def test_the_backward_pass_draws_the_same_dropout_mask(small_tiles):
    grid, leaves = (4, 5), case((4, 5), heads=1, dims=3)

    def f(*args):
        torch.manual_seed(5)
        return attend(args, grid, dropout_p=0.4)

    assert torch.autograd.gradcheck(f, leaves)
    assert not torch.allclose(f(*leaves), attend(leaves, grid))


def test_memory_of_any_one_tensor_grows_with_n_not_with_n_squared():
    largest = {}
    for side in (64, 128):
        leaves = case((side, side), dtype=torch.float32, heads=1)
        with LargestTensor() as mode:
            gradients(leaves, (side, side))
        largest[side] = mode.numel
    tokens = 128 * 128 + 1
    assert largest[128] < tokens**2 / 10
    assert largest[128] < 6 * largest[64]  # N grows by 4, H + W by 2; N * N would by 16


def test_keeps_only_inputs_output_and_log_sum_exp():
    grid, kept = (20, 20), []
    leaves = case(grid)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        attend(leaves, grid)
    assert sorted(kept) == sorted([leaf.numel() for leaf in leaves] + [leaves[0].numel(), 2 * 401])


def test_results_are_deterministic():
    leaves = case((30, 31), dtype=torch.float32)
    for first, second in zip(gradients(leaves, (30, 31)), gradients(leaves, (30, 31))):
        assert torch.equal(first, second)


def test_without_the_fused_kernel(monkeypatch):
    leaves = case((9, 8))
    expected = gradients(leaves, (9, 8))
    monkeypatch.setattr(streaming, '_HAS_FUSED', False)
    for actual, other in zip(gradients(leaves, (9, 8)), expected):
        assert_close(actual, other, 1e-12)


def test_a_second_derivative_is_refused():
    leaves = case((3, 3))
    first, = torch.autograd.grad(attend(leaves, (3, 3)).square().sum(), leaves[:1], create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        first.sum().backward()
