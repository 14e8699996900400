"""The constants of a pretraining grid."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmlocat.attention import GaussianKernel


@pytest.mark.parametrize(('grid', 'eps'), [(14, 0.1), (32, 0.2), (40, 0.2), (24, 0.1), (64, 0.4)])
def test_eps_keeps_float16_finite(grid, eps):
    kernel = GaussianKernel(grid)
    assert kernel.eps == pytest.approx(eps)
    assert 0.5 * (grid - 1)**2 / kernel.eps**2 <= 32500


def test_starts_at_variance_one_and_alpha_ln_two():
    kernel = GaussianKernel((14, 14))
    assert torch.allclose(kernel.variance(torch.zeros(196, 2), (14, 14)), torch.ones(196, 2))
    assert torch.allclose(kernel.alpha(torch.zeros(196, 1)), torch.full((196, 1), math.log(2)))


def test_variance_follows_the_shorter_side_of_another_grid():
    kernel = GaussianKernel((14, 7))
    logits = torch.randn(8, 2)
    same, other = kernel.variance(logits, (14, 7)), kernel.variance(logits, (21, 28))
    assert torch.allclose(other, same * 3)
    # (7, 14) has the same shorter side, and so the factor 1.
    assert torch.equal(kernel.variance(logits, (7, 14)), same)


def test_variance_stays_below_its_limit():
    kernel = GaussianKernel(14)
    ends = kernel.variance(torch.tensor([[-50., 50.]]), 14)
    assert ends[0, 0] >= 0
    assert ends[0, 1] == pytest.approx(196)


def test_distance_is_clamped_to_the_pretraining_grid():
    kernel = GaussianKernel(4)  # squared distances stop at 9
    rows, _ = kernel.factors(torch.ones(10, 2), (10, 1))
    assert rows[0, 3] > 0
    assert torch.equal(rows[0, 3:], rows[0, 3].expand(7))
    assert rows[0, 2] > rows[0, 3]


@given(height=st.integers(1, 9), width=st.integers(1, 9))
def test_factors_are_one_at_the_query_and_fall_with_distance(height, width):
    kernel = GaussianKernel((9, 9))
    rows, columns = kernel.factors(torch.rand(height * width, 2).double() * 5 + 0.5, (height, width))
    assert rows.shape == (height * width, height) and columns.shape == (height * width, width)
    for patch in range(height * width):
        y, x = divmod(patch, width)
        assert rows[patch, y] == columns[patch, x] == 1
        assert (rows[patch, y:].diff() < 0).all() and (rows[patch, :y + 1].diff() > 0).all()
        assert (columns[patch, x:].diff() < 0).all() and (columns[patch, :x + 1].diff() > 0).all()


def test_half_precision_is_computed_in_float32():
    kernel = GaussianKernel(14)
    logits = torch.randn(196, 2)
    expected = kernel.variance(logits.half().float(), 14)
    assert torch.equal(kernel.variance(logits.half(), 14), expected)
    assert kernel.alpha(torch.zeros(1, 1, dtype=torch.bfloat16)).dtype == torch.float32


def test_a_kernel_is_a_value():
    assert GaussianKernel(14) == GaussianKernel((14, 14)) == GaussianKernel(np.int64(14))
    with pytest.raises(AttributeError):
        GaussianKernel(14).ref_grid = (7, 7)


@pytest.mark.parametrize('grid', [0, -1, (14, 0), (1, 2, 3), 'ab', (1.5, 2), None])
def test_refuses_what_is_no_grid(grid):
    with pytest.raises(ValueError, match='ref_grid must be a positive whole number or a pair'):
        GaussianKernel(grid)
