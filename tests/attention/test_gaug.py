"""GaussianAttention: the two layers, P, kernel and back-end in one module, and what it takes beside q, k and v."""

import pytest
import torch
from torch.nn.functional import linear, scaled_dot_product_attention

from mmlocat.attention import GaussianAttention, GaussianKernel, gaussian_attention
from mmlocat.attention.dense import gaussian_bias
from tests.conftest import assert_close

GRID, PREFIX = (4, 5), 2
BIASES = {'none': None, 'whole': (2, 3, 22, 22), 'of heads': (3, 22, 22), 'of keys': (2, 1, 1, 22)}


def module(backend, dtype=torch.float64):
    made = GaussianAttention(8, GaussianKernel(3), PREFIX, backend).to(dtype)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def rows(count=3, dtype=torch.float64):
    return [torch.randn(2, 3, 22, 8, dtype=dtype, requires_grad=True) for _ in range(count)]


def as_printed(made, query, key, value, gate, bias):
    """The equation, without anything of the module but its weights."""
    patches = gate[:, :, PREFIX:]
    variance = made.kernel.variance(linear(patches, made.log_var.weight, made.log_var.bias), GRID)
    alpha = made.kernel.alpha(linear(patches, made.log_alpha.weight, made.log_alpha.bias))
    logits = query @ key.mT * 8**-0.5 + gaussian_bias(variance, alpha, made.kernel, GRID, PREFIX)
    return (logits if bias is None else logits + bias).softmax(-1) @ value


@pytest.mark.parametrize('backend', ['dense', 'sdpa', 'streaming', 'auto'])
@pytest.mark.parametrize('gated', [False, True])
@pytest.mark.parametrize('shape', BIASES.values(), ids=BIASES)
def test_output_and_every_gradient(backend, gated, shape):
    made, leaves = module(backend), rows(4 if gated else 3)
    bias = None if shape is None else torch.randn(shape, dtype=torch.float64, requires_grad=True)
    if shape is not None and backend == 'streaming':
        with pytest.raises(RuntimeError, match='no gradient of a bias; these can: dense, sdpa'):
            made(*leaves[:3], GRID, bias=bias)
        return
    out = made(*leaves[:3], GRID, gate_query=leaves[3] if gated else None, bias=bias)
    expected = as_printed(made, *leaves[:3], leaves[-1] if gated else leaves[0], bias)
    assert_close(out, expected, 1e-12)
    inputs = [*leaves, *([] if bias is None else [bias]), *made.parameters()]
    direction = torch.randn_like(out)
    gradients = torch.autograd.grad(expected, inputs, direction)
    for own, other in zip(torch.autograd.grad(out, inputs, direction), gradients):
        assert other.abs().max() > 0
        assert_close(own, other, 1e-12)


def test_a_query_before_rotation_predicts():
    """The Gaussian is that of gate_query, the logits are those of query."""
    made, (query, key, value, gate) = module('dense'), rows(4)
    variance, alpha = made.predict(gate[:, :, PREFIX:], GRID)
    out = made(query, key, value, GRID, gate_query=gate)
    same = gaussian_attention(query, key, value, variance, alpha, kernel=made.kernel, grid=GRID,
                              num_prefix_tokens=PREFIX, backend='dense')
    assert torch.equal(out, same) and (out - made(query, key, value, GRID)).abs().max() > 1e-3


@pytest.mark.parametrize('backend', ['dense', 'triton'])
def test_a_listener_hears_what_was_predicted(backend):
    made, (query, key, value, gate) = module(backend, torch.float32), rows(4, torch.float32)
    heard = []
    handle = made.listen(lambda *gaussians: heard.append(gaussians))
    made.backend = 'dense'  # what is heard does not depend on it
    made(query, key, value, GRID)
    made(query=query, key=key, value=value, grid=GRID, gate_query=gate)
    handle.remove()
    made(query, key, value, GRID)
    assert len(heard) == 2 and not any(tensor.requires_grad for pair in heard for tensor in pair)
    for gaussians, source in zip(heard, (query, gate)):
        with torch.no_grad():  # as the listener's are
            predicted = made.predict(source[:, :, PREFIX:], GRID)
        for own, expected in zip(gaussians, predicted):
            assert torch.equal(own, expected)


def test_starts_as_the_paper_and_as_the_identity():
    made = GaussianAttention(64, GaussianKernel(14))
    assert sorted(made.state_dict()) == ['log_alpha.bias', 'log_alpha.weight', 'log_var.bias', 'log_var.weight']
    assert sum(parameter.numel() for parameter in made.parameters()) == 3 * 64 + 3
    query, key, value = (torch.randn(1, 2, 197, 64) for _ in range(3))
    plain = scaled_dot_product_attention(query, key, value)
    assert (made(query, key, value, 14) - plain).abs().max() > 1e-3
    made.start_as_identity()
    assert (made(query, key, value, 14) - plain).abs().max() < 1e-4


def test_what_does_not_fit_is_said():
    made, (query, key, value) = module('dense'), rows()
    with pytest.raises(ValueError, match=r'gate_query must have the shape of query, .*, got \(2, 3, 20, 8\)'):
        made(query, key, value, GRID, gate_query=query[:, :, 2:])
    with pytest.raises(ValueError, match='a grid of .4, 4. and 2 prefix tokens make 18 tokens, but query has N = 22'):
        made(query, key, value, (4, 4))
