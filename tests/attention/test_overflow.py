"""The Gaussian at the ends of its parameters' range: forward and backward stay finite, in every precision."""

import math

import pytest
import torch

from mmlocat.attention import GaussianAttention, GaussianKernel, gaussian_attention
from mmlocat.attention.backends import available_backends
from tests.conftest import runs_here

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Pre-activations of variance and alpha: in the middle, far out, what float16 and bfloat16 hold at most, and overflowed.
RAW = [0., 1e4, -1e4, 65504., -65504., 1e10, 3.3e38, -3.3e38, math.inf, -math.inf]


# In Triton's interpreter the hundred calls take a minute; ``test_huge_and_tiny_logits`` is the short instance.
LARGE = [pytest.param(name, marks=pytest.mark.soak) if name == 'triton' and not torch.cuda.is_available() else name
         for name in available_backends()]


def finite(tensors):
    return all(torch.isfinite(tensor).all() for tensor in tensors)


def call(backend, dtype, raw_variance, raw_alpha, size=1., grid=(5, 4), ref_grid=14):
    """Output and gradients of an attention whose Gaussian comes from the given pre-activations."""
    torch.manual_seed(0)
    patches = grid[0] * grid[1]
    tensors = [(torch.randn(1, 2, 1 + patches, 8) * size).to(dtype) for _ in range(3)]
    logits = torch.empty(1, 2, patches, 3)
    logits[..., :2], logits[..., 2:] = raw_variance, raw_alpha
    tensors.append(logits.to(dtype))
    trains = runs_here(backend, tensors[0])
    tensors = [tensor.requires_grad_(trains) for tensor in tensors]
    kernel = GaussianKernel(ref_grid)
    variance, alpha = kernel.variance(tensors[3][..., :2], grid), kernel.alpha(tensors[3][..., 2:])
    out = gaussian_attention(*tensors[:3], variance, alpha, kernel=kernel, grid=grid, num_prefix_tokens=1,
                             backend=backend)
    gradients = torch.autograd.grad(out.float().sum(), tensors) if trains else []
    return out.detach(), gradients


@pytest.mark.parametrize('backend', LARGE)
@pytest.mark.parametrize('dtype', DTYPES)
def test_extreme_pre_activations(backend, dtype, figure):
    tried = 0
    for raw_variance in RAW:
        for raw_alpha in RAW:
            out, gradients = call(backend, dtype, raw_variance, raw_alpha)
            assert finite([out, *gradients]), f'variance from {raw_variance:g}, alpha from {raw_alpha:g}'
            assert out.abs().max() <= 4.  # a mean of values
            tried += 1
    name = str(dtype).replace('torch.', '')
    figure('Precision', f'extreme Gaussians (variance x alpha) with finite output and gradients: {backend}, {name}',
           f'{tried} of {len(RAW)**2}')


@pytest.mark.parametrize('backend', available_backends())
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('size', [1e-7, 100., 1000.])
def test_huge_and_tiny_logits(backend, dtype, size):
    """Queries and keys of 1000 give logits of 1e6: far beyond float16, whose products are summed in float32."""
    for raw_alpha in (-1e4, 0., 1e4):
        out, gradients = call(backend, dtype, 0., raw_alpha, size)
        assert finite([out, *gradients]), f'alpha from {raw_alpha:g}'


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('weight', [1e4, 1., 0., -1., -1e4])
def test_the_two_layers_at_their_ends(dtype, weight):
    """What GAug predicts stays in range, its gradient finite, for queries as large as they get; overflow included."""
    layer = GaussianAttention(8, GaussianKernel(14)).to(dtype)
    runs_here('sdpa', layer.log_var.weight)  # whether this PyTorch multiplies in this dtype
    for query_size in (1., 1e4, torch.finfo(dtype).max):
        with torch.no_grad():
            layer.log_var.weight.fill_(weight)
            layer.log_alpha.weight.fill_(weight)
        query = torch.full((1, 2, 4, 8), query_size / 2, dtype=dtype, requires_grad=True)
        variance, alpha = layer.predict(query, (2, 2))
        assert finite([variance, alpha]) and 0 <= variance.min() and variance.max() <= 196
        assert 0 <= alpha.min() and alpha.max() <= 65504
        assert finite(torch.autograd.grad(variance.sum() + alpha.sum(), query)), query_size


@pytest.mark.parametrize('ref_grid', [2, 14, 64, 256])
def test_the_exponents_gradient_stays_below_float16(ref_grid):
    """eps is there for this (paper, definition of S): at variance 0, the steepest place."""
    kernel = GaussianKernel(ref_grid)
    variance = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    exponent = -0.5 * kernel.max_squared_distance / (variance + kernel.eps)
    gradient, = torch.autograd.grad(exponent.sum(), variance)
    assert abs(exponent.item()) < 65504 and gradient.item() < 65504
    assert math.isfinite(kernel.precision(torch.zeros(1, dtype=torch.float16)).item())
