"""Every back-end against the oracle in float64, what they refuse, and which one is taken."""

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from mmlocat.attention import GaussianKernel, available_backends, backends, gaussian_attention, streaming
from mmlocat.attention.pytorch import ATTENDS_IN_FLOAT16_ON_CPU
from tests.conftest import assert_close, runs_here

# In Triton's interpreter a tile takes milliseconds.
INTERPRETED = not torch.cuda.is_available()
LARGE = [pytest.param(name, marks=pytest.mark.soak) if name == 'triton' and INTERPRETED else name
         for name in available_backends()]
EXACT = [name for name in available_backends() if name != 'triton']  # which does not take float64; test_triton.py
FAST = [name for name in EXACT if name != 'dense']


def random_case(grid, prefix, batch=2, heads=2, dims=16, ref=(6, 6), dtype=torch.float64):
    patches = grid[0] * grid[1]
    shape = (batch, heads, prefix + patches, dims)
    kernel = GaussianKernel(ref)
    leaves = [torch.randn(shape, dtype=dtype) for _ in range(3)]
    leaves += [torch.randn(batch, heads, patches, 2, dtype=dtype), torch.randn(batch, heads, patches, 1, dtype=dtype)]
    return kernel, [leaf.requires_grad_() for leaf in leaves]


def attend(kernel, leaves, grid, prefix, backend, **options):
    query, key, value, variance_logits, alpha_logits = leaves
    return gaussian_attention(
        query, key, value, kernel.variance(variance_logits, grid), kernel.alpha(alpha_logits), kernel=kernel,
        grid=grid, num_prefix_tokens=prefix, backend=backend, **options)


def results(kernel, leaves, grid, prefix, backend, direction, with_gradients=True):
    """The output, and the gradients of q, k, v and both pre-activations."""
    with torch.set_grad_enabled(with_gradients):
        out = attend(kernel, leaves, grid, prefix, backend)
    return [out, *(torch.autograd.grad(out, leaves, direction) if with_gradients else [])]


def assert_equals_the_oracle(kernel, leaves, grid, prefix, backend, tolerance=1e-12):
    direction = torch.randn_like(leaves[0])
    oracle = results(kernel, leaves, grid, prefix, 'dense', direction)
    actual = results(kernel, leaves, grid, prefix, backend, direction, runs_here(backend, leaves[0]))
    assert len(actual) in (1, 6)
    for index, (expected, own) in enumerate(zip(oracle, actual)):
        # One token attends to itself alone: then only the value has a gradient.
        if prefix + grid[0] * grid[1] > 1 and (index < 4 or grid != (1, 1)):
            assert expected.abs().max() > 0
        assert_close(own, expected, tolerance)


@pytest.mark.parametrize('backend', FAST)
@pytest.mark.parametrize('prefix', [0, 1, 5])
@pytest.mark.parametrize('grid', [(6, 6), (4, 9), (7, 5), (1, 8), (8, 1), (12, 12), (1, 1)])
def test_output_and_five_gradients_equal_the_oracle(grid, prefix, backend):
    assert_equals_the_oracle(*random_case(grid, prefix), grid, prefix, backend)


@pytest.mark.parametrize('backend', FAST)
@pytest.mark.parametrize('dims', [16, 20, 32, 64, 80, 128])
@pytest.mark.parametrize('batch', [1, 3])
def test_head_dims_and_batches(batch, dims, backend):
    assert_equals_the_oracle(*random_case((13, 15), 1, batch=batch, heads=3, dims=dims), (13, 15), 1, backend)


@pytest.mark.parametrize('backend', EXACT)
def test_gradcheck(backend):
    kernel, leaves = random_case((2, 3), 1, batch=1, heads=1, dims=3)
    assert torch.autograd.gradcheck(lambda *args: attend(kernel, args, (2, 3), 1, backend), leaves)


@pytest.mark.parametrize(('grid', 'backend'), [((9, 7), name) for name in available_backends()]
                         + [((33, 31), name) for name in FAST])
def test_float32_follows_float64(grid, backend):
    kernel, leaves = random_case(grid, 1)
    direction = torch.randn_like(leaves[0])
    halved = [leaf.detach().float().requires_grad_() for leaf in leaves]
    actual = results(kernel, halved, grid, 1, backend, direction.float(), runs_here(backend, halved[0]))
    for own, expected in zip(actual, results(kernel, leaves, grid, 1, 'dense', direction)):
        assert_close(own.double(), expected, 1e-5)


@pytest.mark.skipif(not streaming._HAS_FUSED, reason="PyTorch 2.1's own half-precision backward aborts on a CPU")
@pytest.mark.parametrize('backend', LARGE)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('grid', [(8, 8), (24, 20)])
def test_half_precision_errs_at_most_twice_as_much_as_plain_attention(grid, dtype, backend):
    kernel, leaves = random_case(grid, 1, heads=3, dims=64, ref=(14, 14), dtype=torch.float32)
    leaves = [leaf.detach().to(dtype).requires_grad_() for leaf in leaves]
    with_gradients = runs_here(backend, leaves[0])
    wide = [leaf.detach().double().requires_grad_() for leaf in leaves]
    direction = torch.randn_like(leaves[0])

    def plain(tensors, grad):
        out = torch.nn.functional.scaled_dot_product_attention(*tensors[:3])
        return [out, *torch.autograd.grad(out, tensors[:3], grad)]

    # PyTorch 2.4's own attention rounds to bfloat16 in between where it has a mask.
    times = 2 if ATTENDS_IN_FLOAT16_ON_CPU else 3
    allowed = [times * (own.double() - exact).pow(2).mean().sqrt()
               for own, exact in zip(plain(leaves, direction), plain(wide, direction.double()))]
    actual = results(kernel, leaves, grid, 1, backend, direction, with_gradients)
    for own, exact, limit in zip(actual, results(kernel, wide, grid, 1, 'dense', direction.double()), allowed):
        assert own.dtype == dtype
        assert (own.double() - exact).pow(2).mean().sqrt() <= limit


def extreme_case(grid, logit, dtype, dims=16):
    tokens = grid[0] * grid[1]
    leaves = [torch.randn(1, 1, tokens + 1, dims).to(dtype).requires_grad_() for _ in range(3)]
    return leaves + [torch.full((1, 1, tokens, n), logit, dtype=dtype).requires_grad_() for n in (2, 1)]


@pytest.mark.parametrize('backend', LARGE)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('logit', [-50., 50.])
@pytest.mark.parametrize(('grid', 'ref'), [((8, 8), 40), ((128, 3), 128), ((1, 128), 14)])
def test_extremes_stay_finite(grid, ref, logit, dtype, backend):
    leaves = extreme_case(grid, logit, dtype)
    with_gradients = runs_here(backend, leaves[0])
    with torch.set_grad_enabled(with_gradients):
        out = attend(GaussianKernel(ref), leaves, grid, 1, backend)
    assert out.dtype == dtype and out.isfinite().all()
    if with_gradients:
        out.float().square().sum().backward()
        assert all(leaf.grad.isfinite().all() for leaf in leaves)


@pytest.mark.parametrize(('logit', 'dtype'), [(-50., torch.float16), (50., torch.bfloat16)])
def test_extremes_stay_finite_on_a_grid_of_128_by_128(logit, dtype):
    leaves = extreme_case((128, 128), logit, dtype)
    out = attend(GaussianKernel(128), leaves, (128, 128), 1, 'auto')
    out.float().square().sum().backward()
    assert out.isfinite().all() and all(leaf.grad.isfinite().all() for leaf in leaves)


class CopiesOf(TorchDispatchMode):
    """Counts operations that copy out of one tensor's storage."""

    def __init__(self, tensor):
        super().__init__()
        self.storage = tensor.untyped_storage().data_ptr()
        self.copies = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        sources = {'clone': args[:1], '_to_copy': args[:1], 'contiguous': args[:1], 'copy_': args[1:2]}
        for source in sources.get(func.overloadpacket.__name__, ()):
            if source.untyped_storage().data_ptr() == self.storage:
                self.copies.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.skipif(not streaming._HAS_FUSED, reason='PyTorch 2.1 itself copies under a mask')
@pytest.mark.parametrize('backend', ['sdpa', 'streaming'])
@pytest.mark.parametrize('batch', [1, 2])
def test_neither_batch_nor_heads_nor_prefix_force_a_copy(batch, backend):
    kernel, grid = GaussianKernel(14), (30, 25)
    qkv = torch.randn(batch, 751, 3, 4, 16)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    variance, alpha = torch.rand(batch, 4, 750, 2) + 1, torch.rand(batch, 4, 750, 1)
    with torch.no_grad(), CopiesOf(qkv) as mode:
        gaussian_attention(query, key, value, variance, alpha, kernel=kernel, grid=grid, num_prefix_tokens=1,
                           backend=backend)
    assert not mode.copies


@pytest.mark.parametrize('backend', EXACT)
def test_takes_non_contiguous_inputs(backend):
    kernel, leaves = random_case((4, 4), 1)
    runs_here(backend, leaves[0])
    leaves = [leaf.detach() for leaf in leaves]
    strided = [leaf.detach().transpose(1, 2).contiguous().transpose(1, 2) for leaf in leaves[:3]] + leaves[3:]
    assert not strided[0].is_contiguous()
    channels_apart = [leaf.transpose(-1, -2).contiguous().transpose(-1, -2) for leaf in leaves[:3]] + leaves[3:]
    assert channels_apart[0].stride(-1) != 1
    assert_close(attend(kernel, channels_apart, (4, 4), 1, backend), attend(kernel, leaves, (4, 4), 1, 'dense'), 1e-12)
    assert_close(attend(kernel, strided, (4, 4), 1, backend), attend(kernel, leaves, (4, 4), 1, 'dense'), 1e-12)


@pytest.mark.parametrize('backend', EXACT)
@pytest.mark.parametrize(('own', 'others'), [(torch.float64, torch.float32), (torch.float32, torch.float64)])
def test_variance_and_alpha_may_be_of_another_dtype(own, others, backend):
    kernel, leaves = random_case((5, 4), 1)
    leaves = [leaf.detach().to(own) for leaf in leaves[:3]] + [leaf.detach().to(others) for leaf in leaves[3:]]
    runs_here(backend, leaves[0])
    out = attend(kernel, leaves, (5, 4), 1, backend)
    assert out.dtype == own
    assert_close(out.double(), attend(kernel, [leaf.double() for leaf in leaves], (5, 4), 1, 'dense'), 1e-5)


@pytest.mark.parametrize('backend', EXACT)
@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 5), width=st.integers(1, 5), seed=st.integers(0, 1000))
def test_reflection_and_transposition_of_the_grid(height, width, seed, backend):
    torch.manual_seed(seed)
    kernel, leaves = random_case((height, width), 0)
    runs_here(backend, leaves[0])
    leaves = [leaf.detach() for leaf in leaves]
    out = attend(kernel, leaves, (height, width), 0, backend)
    patches = torch.arange(height * width).view(height, width)
    flipped = patches.flip(1).flatten()
    assert_close(attend(kernel, [leaf[:, :, flipped] for leaf in leaves], (height, width), 0, backend),
                 out[:, :, flipped], 1e-12)
    swapped = patches.t().flatten()
    mirrored = [leaf[:, :, swapped] for leaf in leaves]
    mirrored[3] = mirrored[3].flip(-1)  # rows become columns
    assert_close(attend(kernel, mirrored, (width, height), 0, backend), out[:, :, swapped], 1e-12)


@pytest.mark.parametrize('backend', EXACT)
@settings(max_examples=20, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_permutation_of_batch_and_heads(data, seed, backend):
    torch.manual_seed(seed)
    kernel, leaves = random_case((3, 4), 1, batch=3, heads=4, dims=8)
    runs_here(backend, leaves[0])
    leaves = [leaf.detach() for leaf in leaves]
    batch, heads = (torch.tensor(data.draw(st.permutations(range(n)))) for n in (3, 4))
    out = attend(kernel, leaves, (3, 4), 1, backend)
    permuted = attend(kernel, [leaf[batch][:, heads] for leaf in leaves], (3, 4), 1, backend)
    assert_close(permuted, out[batch][:, heads], 1e-12)


@pytest.mark.parametrize('backend', EXACT)
def test_alpha_zero_is_plain_attention_and_large_alpha_is_local(backend):
    kernel, leaves = random_case((5, 5), 1)
    runs_here(backend, leaves[0])
    leaves = [leaf.detach() for leaf in leaves]
    query, key, value = leaves[:3]
    variance = torch.ones(2, 2, 25, 2, dtype=torch.float64)
    options = dict(kernel=kernel, grid=(5, 5), num_prefix_tokens=1, backend=backend)
    plain = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    assert_close(gaussian_attention(query, key, value, variance, torch.zeros(2, 2, 25, 1).double(), **options), plain,
                 1e-12)
    local = gaussian_attention(query, key, value, variance * 0.01, torch.full((2, 2, 25, 1), 500.).double(), **options)
    assert_close(local[:, :, 1:], value[:, :, 1:], 1e-6)
    assert_close(local[:, :, :1], plain[:, :, :1], 1e-12)


@pytest.mark.parametrize('backend', EXACT)
def test_dropout_keeps_the_expectation(backend):
    kernel, leaves = random_case((4, 4), 1, batch=1, heads=1, dims=4)
    leaves = [leaf.detach() for leaf in leaves]
    expected = attend(kernel, leaves, (4, 4), 1, backend)
    draws = torch.stack([attend(kernel, leaves, (4, 4), 1, backend, dropout_p=0.3) for _ in range(3000)])
    assert draws.std(dim=0).min() > 0
    assert (draws.mean(dim=0) - expected).abs().max() < 0.1


@pytest.mark.parametrize('backend', ['dense', 'sdpa', 'streaming'])
def test_stays_in_float32_under_autocast(backend):
    kernel, leaves = random_case((4, 4), 1, dtype=torch.float32)
    direction = torch.randn_like(leaves[0])
    expected = results(kernel, leaves, (4, 4), 1, backend, direction)
    with torch.autocast('cpu', torch.bfloat16):
        out = attend(kernel, leaves, (4, 4), 1, backend)
    for own, other in zip([out, *torch.autograd.grad(out, leaves, direction)], expected):
        assert torch.equal(own, other)


def test_a_named_back_end_never_falls_back(monkeypatch):
    kernel, leaves = random_case((2, 2), 0)
    monkeypatch.setattr(backends.sdpa, 'can_run', lambda request: 'it is Monday')
    with pytest.raises(RuntimeError, match="'sdpa' cannot run here: it is Monday; these can: dense, streaming"):
        attend(kernel, leaves, (2, 2), 0, 'sdpa')
    attend(kernel, leaves, (2, 2), 0, 'auto')  # goes on to the next
    monkeypatch.setattr(backends.streaming, 'can_run', lambda request: 'nor do I')
    with pytest.raises(RuntimeError, match="backend='dense' always runs"):
        attend(kernel, leaves, (2, 2), 0, 'auto')


def test_auto_logs_each_choice_once(caplog):
    backends._log_choice.cache_clear()
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
    assert backends.automatic_order((1, 12, 530), 'cpu', dtype, needs_grad)[0] == first
