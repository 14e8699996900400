"""Every back-end against the oracle in float64, and what they refuse."""

import logging

import pytest
import torch
from conftest import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlocat.attention import GaussianKernel, api, available_backends, gaussian_attention

FAST = [name for name in available_backends() if name != 'dense']


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


@pytest.mark.parametrize('backend', FAST)
@pytest.mark.parametrize('prefix', [0, 1, 5])
@pytest.mark.parametrize('grid', [(6, 6), (4, 9), (7, 5), (1, 8), (8, 1), (12, 12), (1, 1)])
def test_output_and_five_gradients_equal_the_oracle(grid, prefix, backend):
    kernel, leaves = random_case(grid, prefix)
    direction = torch.randn_like(leaves[0])
    results = {}
    for name in ('dense', backend):
        out = attend(kernel, leaves, grid, prefix, name)
        results[name] = [out, *torch.autograd.grad(out, leaves, direction)]
    for index, (expected, actual) in enumerate(zip(results['dense'], results[backend])):
        # One token attends to itself alone: then only the value has a gradient.
        if prefix + grid[0] * grid[1] > 1 and (index < 4 or grid != (1, 1)):
            assert expected.abs().max() > 0
        assert_close(actual, expected, 1e-12)


@pytest.mark.parametrize('backend', available_backends())
def test_gradcheck(backend):
    kernel, leaves = random_case((2, 3), 1, batch=1, heads=1, dims=3)
    assert torch.autograd.gradcheck(lambda *args: attend(kernel, args, (2, 3), 1, backend), leaves)


@pytest.mark.parametrize('backend', available_backends())
def test_float32_follows_float64(backend):
    kernel, leaves = random_case((9, 7), 1)
    expected = attend(kernel, leaves, (9, 7), 1, 'dense')
    actual = attend(kernel, [leaf.detach().float() for leaf in leaves], (9, 7), 1, backend)
    assert_close(actual.double(), expected, 1e-5)


@pytest.mark.parametrize('backend', available_backends())
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('logit', [-50., 50.])
def test_extremes_stay_finite_in_half_precision(logit, dtype, backend):
    kernel = GaussianKernel(40)
    leaves = [torch.randn(1, 1, 65, 16, dtype=dtype).requires_grad_() for _ in range(3)]
    leaves += [torch.full((1, 1, 64, n), logit, dtype=dtype).requires_grad_() for n in (2, 1)]
    out = attend(kernel, leaves, (8, 8), 1, backend)
    out.float().square().sum().backward()
    assert out.dtype == dtype and out.isfinite().all()
    assert all(leaf.grad.isfinite().all() for leaf in leaves)


@pytest.mark.parametrize('backend', available_backends())
def test_takes_non_contiguous_inputs(backend):
    kernel, leaves = random_case((4, 4), 1)
    strided = [leaf.detach().transpose(1, 2).contiguous().transpose(1, 2) for leaf in leaves[:3]] + leaves[3:]
    assert not strided[0].is_contiguous()
    assert_close(attend(kernel, strided, (4, 4), 1, backend), attend(kernel, leaves, (4, 4), 1, 'dense'), 1e-12)


@pytest.mark.parametrize('backend', available_backends())
@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 5), width=st.integers(1, 5), seed=st.integers(0, 1000))
def test_reflection_and_transposition_of_the_grid(height, width, seed, backend):
    torch.manual_seed(seed)
    kernel, leaves = random_case((height, width), 0)
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


@pytest.mark.parametrize('backend', available_backends())
def test_alpha_zero_is_plain_attention_and_large_alpha_is_local(backend):
    kernel, leaves = random_case((5, 5), 1)
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


@pytest.mark.parametrize('backend', available_backends())
def test_dropout_keeps_the_expectation(backend):
    kernel, leaves = random_case((4, 4), 1, batch=1, heads=1, dims=4)
    leaves = [leaf.detach() for leaf in leaves]
    expected = attend(kernel, leaves, (4, 4), 1, backend)
    draws = torch.stack([attend(kernel, leaves, (4, 4), 1, backend, dropout_p=0.3) for _ in range(3000)])
    assert draws.std(dim=0).min() > 0
    assert (draws.mean(dim=0) - expected).abs().max() < 0.1


def test_errors_name_what_is_wrong():
    kernel, leaves = random_case((4, 5), 1)
    query, key, value, _, _ = leaves
    variance, alpha = torch.ones(2, 2, 20, 2), torch.ones(2, 2, 20, 1)
    options = dict(kernel=kernel, grid=(4, 5), num_prefix_tokens=1)
    with pytest.raises(ValueError, match=r'grid of \(4, 4\) and 1 prefix tokens make 17 tokens, but query has N = 21'):
        gaussian_attention(query, key, value, variance, alpha, kernel=kernel, grid=(4, 4), num_prefix_tokens=1)
    with pytest.raises(ValueError, match=r"attention back-end 'fast'; choose one of auto, dense, sdpa, streaming"):
        gaussian_attention(query, key, value, variance, alpha, backend='fast', **options)
    with pytest.raises(ValueError, match=r'variance must have shape .*20, 2\), got \(2, 2, 20, 1\)'):
        gaussian_attention(query, key, value, alpha, alpha, **options)
    with pytest.raises(ValueError, match='alpha must have shape'):
        gaussian_attention(query, key, value, variance, variance, **options)
    with pytest.raises(ValueError, match='must share one shape'):
        gaussian_attention(query, key[:, :, 1:], value, variance, alpha, **options)
    with pytest.raises(TypeError, match='float64, torch.float32 and torch.float64'):
        gaussian_attention(query, key.float(), value, variance, alpha, **options)
    with pytest.raises(ValueError, match=r'dropout_p must lie in \[0, 1\), got 1.0'):
        gaussian_attention(query, key, value, variance, alpha, dropout_p=1.0, **options)
    with pytest.raises(ValueError, match=r'query must have shape \(B, h, N, d\), got \(2, 21, 16\)'):
        gaussian_attention(query[0], key, value, variance, alpha, **options)
    with pytest.raises(ValueError, match='grid must be a positive whole number'):
        gaussian_attention(query, key, value, variance, alpha, kernel=kernel, grid=(4, 0), num_prefix_tokens=1)


def test_the_oracle_stays_in_float32_under_autocast():
    kernel, leaves = random_case((4, 4), 1, dtype=torch.float32)
    expected = attend(kernel, leaves, (4, 4), 1, 'dense')
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(attend(kernel, leaves, (4, 4), 1, 'dense'), expected)


def test_a_named_back_end_never_falls_back(monkeypatch):
    kernel, leaves = random_case((2, 2), 0)
    monkeypatch.setattr(api.sdpa, 'can_run', lambda query, needs_grad: 'it is Monday')
    with pytest.raises(RuntimeError, match="'sdpa' cannot run here: it is Monday; these can: dense, streaming"):
        attend(kernel, leaves, (2, 2), 0, 'sdpa')
    with pytest.raises(RuntimeError, match="backend='dense' always runs"):
        attend(kernel, leaves, (2, 2), 0, 'auto')


def test_auto_logs_its_choice_once(caplog, monkeypatch):
    monkeypatch.setattr(api, '_logged', set())
    kernel, leaves = random_case((2, 2), 0)
    with caplog.at_level(logging.INFO, 'mmlocat'):
        for _ in range(3):
            attend(kernel, leaves, (2, 2), 0, 'auto')
    assert [record.message for record in caplog.records] == ['attention back-end on cpu: sdpa']
