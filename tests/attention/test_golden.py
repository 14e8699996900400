"""GAug and PRR against the published implementation, on every back-end."""

import pytest
import torch
from torch.nn.functional import linear

from mmlocat.attention import GaussianKernel, available_backends, gaussian_attention, refine_patches
from mmlocat.attention.dense import gaussian_bias
from mmlocat.attention.sdpa import gaussian_mask
from tests.conftest import assert_close, device_of, golden_names, load_golden, runs_here


def predict(kernel, query, weights, grid):
    variance = kernel.variance(linear(query, weights['log_var.weight'], weights['log_var.bias']), grid)
    alpha = kernel.alpha(linear(query, weights['log_alpha.weight'], weights['log_alpha.bias']))
    return variance, alpha


# In Triton's interpreter 32 x 32 patches take a minute; the other cases are the short instances.
CASES = [pytest.param(name, backend, marks=pytest.mark.soak)
         if name == 'gaug_wide_eps' and backend == 'triton' and device_of(backend) == 'cpu' else (name, backend)
         for name in golden_names('gaug_') for backend in available_backends()]


@pytest.mark.parametrize(('name', 'backend'), CASES)
def test_output_and_gradients(name, backend):
    case = load_golden(name, device_of(backend))
    kernel, grid, prefix = GaussianKernel(tuple(case.initial_grid)), tuple(case.grid), case.num_prefix_tokens
    assert kernel.eps == pytest.approx(case.eps)
    with_gradients = runs_here(backend, case.tensors['q'])
    leaves = {key: case.tensors[key].requires_grad_()
              for key in ('q', 'k', 'v', 'log_var.weight', 'log_var.bias', 'log_alpha.weight', 'log_alpha.bias')}
    with torch.set_grad_enabled(with_gradients):
        variance, alpha = predict(kernel, leaves['q'][:, :, prefix:], leaves, grid)
        out = gaussian_attention(
            leaves['q'], leaves['k'], leaves['v'], variance, alpha, kernel=kernel, grid=grid, num_prefix_tokens=prefix,
            scale=case.scale, backend=backend)
    assert_close(out, case.tensors['out'], 1e-5)
    if not with_gradients:
        return
    out.backward(case.tensors['grad_out'])
    for key, leaf in leaves.items():
        assert leaf.grad.abs().max() > 0
        assert_close(leaf.grad, case.tensors[f'grad_{key}'], 1e-4)


@pytest.mark.parametrize('name', golden_names('gaug_'))
def test_bias(name):
    case = load_golden(name)
    kernel, grid, prefix = GaussianKernel(tuple(case.initial_grid)), tuple(case.grid), case.num_prefix_tokens
    variance, alpha = predict(kernel, case.tensors['q'][:, :, prefix:], case.tensors, grid)
    biases = [gaussian_bias(variance, alpha, kernel, grid, prefix),
              gaussian_mask(case.tensors['q'], variance, alpha, kernel, grid, prefix)]
    for bias in biases:
        if 'rows' in case.tensors:
            assert_close(bias[:, :, case.tensors['rows'].long()], case.tensors['bias_rows'], 1e-5)
        else:
            assert_close(bias, case.tensors['bias'], 1e-5)
        assert bias[..., prefix:, prefix:].max() > 0.01
        assert not bias[..., :prefix, :].any() and not bias[..., :, :prefix].any()


def test_refinement():
    case = load_golden('prr')
    x = case.tensors['x'].requires_grad_()
    out = refine_patches(x, case.num_heads)
    assert_close(out, case.tensors['out'], 1e-5)
    out.backward(case.tensors['grad_out'])
    assert_close(x.grad, case.tensors['grad_x'], 1e-4)
