"""The Triton back-end against the oracle in float64: values, gradients, layouts, what it does not compute or keep.

On a CPU in Triton's interpreter, which takes milliseconds for a tile: large cases are soak there.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from mmlocat.attention import GaussianKernel, gaussian_attention
from mmlocat.attention.backends import unable
from mmlocat.attention.triton_backend.configurations import walks_rows
from tests.helpers.triton_cases import DEVICE, Call, assert_equals_the_oracle, errors

pytestmark = pytest.mark.skipif(
    unable('triton', torch.empty(1, 1, 1, 16, device=DEVICE), True) is not None,
    reason=str(unable('triton', torch.empty(1, 1, 1, 16, device=DEVICE), True)))
large = pytest.mark.soak if DEVICE == 'cpu' else lambda test: test
GRIDS = [(1, 9), (9, 1), (5, 5), (6, 7), (3, 16), (4, 20), (2, 33), (7, 3), (1, 1)]


@settings(max_examples=15 if DEVICE == 'cpu' else 200, deadline=None)
@given(data=st.data())
def test_any_shape_prefix_head_and_layout(data):
    height, width = data.draw(st.sampled_from(GRIDS))
    call = Call((height, width), prefix=data.draw(st.sampled_from([0, 1, 2, 5, 40])),
                dims=data.draw(st.sampled_from([8, 12, 16, 24, 33, 64, 96, 128])), batch=data.draw(st.integers(1, 2)),
                heads=data.draw(st.integers(1, 2)), layout=data.draw(st.sampled_from(['qkv', 'heads', 'channels'])))
    expected = call.oracle().results()
    found = errors(call.results(), expected)
    largest = max(tensor.abs().max().item() for tensor in expected.values())
    # A gradient may vanish (one token attends to itself alone), and is compared with the others then.
    for name, error in found.items():
        assert error < 1e-4 or error * expected[name].norm() < 1e-5 * largest, (name, error)


@pytest.mark.parametrize('grid', [(3, 7), (4, 5), pytest.param((3, 20), marks=large)])
@pytest.mark.parametrize('options', [
    dict(gate=True), dict(bias='whole'), dict(bias='heads'), dict(bias='keys', gate=True)
], ids=['gate', 'bias of all', 'bias of heads', 'bias of keys and gate'])
def test_gate_and_bias(grid, options):
    tokens = 1 + grid[0] * grid[1]
    shapes = {'whole': (2, 2, tokens, tokens), 'heads': (2, tokens, tokens), 'keys': (2, 1, 1, tokens)}
    batch = 2 if 'bias' in options else 1
    assert_equals_the_oracle(Call(grid, batch=batch, **{**options, 'bias': shapes.get(options.get('bias'))}))


@pytest.mark.parametrize(('prefix', 'grid'), [(1, (6, 7)), (3, (4, 5))])
def test_variance_and_alpha_as_inputs(prefix, grid):
    call = Call(grid, prefix)
    rows = [call.leaves[name] for name in ('query', 'key', 'value')]
    patches = rows[0].detach()[:, :, prefix:]
    results = []
    for backend, dtype in (('triton', torch.float32), ('dense', torch.float64)):
        leaves = [row.detach().to(dtype).requires_grad_() for row in rows]
        leaves += [part.to(dtype).detach().requires_grad_() for part in call.module.predict(patches, grid)]
        out = gaussian_attention(*leaves, kernel=call.module.kernel, grid=grid, num_prefix_tokens=prefix,
                                 backend=backend)
        grads = torch.autograd.grad(out, leaves, call.direction.to(dtype))
        results.append(dict(zip(('out', 'query', 'key', 'value', 'variance', 'alpha'), (out, *grads))))
    found = errors(*results)
    assert max(found.values()) < 1e-5, found


LEAVES = ('query', 'key', 'value', 'gate_query', 'bias', 'log_var.weight', 'log_var.bias', 'log_alpha.weight',
          'log_alpha.bias')


@pytest.mark.parametrize('wanted', [
    LEAVES[5:], LEAVES[5:6], LEAVES[:3], ('query', ), ('key', ), ('value', ), ('gate_query', ), ('bias', ), ()
], ids=lambda names: ' '.join(names) or 'none')
def test_only_what_needs_gradients_gets_them(wanted):
    call = Call((4, 5), heads=1, gate=True, bias=(1, 21, 21))
    expected = call.oracle().results()
    for name, leaf in {**call.leaves, **dict(call.module.named_parameters())}.items():
        leaf.requires_grad_(name in wanted)
    if not wanted:
        assert not call.attend().requires_grad
        return
    found = call.results()
    assert set(found) == {'out', *wanted}
    assert max(errors(found, {name: expected[name] for name in found}).values()) < 1e-5


class Launches(TorchDispatchMode):
    """Notes every tensor that PyTorch makes."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        # The interpreter wraps the memory of every tensor by set_, and copies it back.
        if isinstance(result, torch.Tensor) and not func.is_view and result.numel() and name[-1] != '_':
            self.made.append((name, tuple(result.shape)))
        return result


def test_frozen_queries_keys_and_values_cost_no_kernel_of_keys(monkeypatch):
    from mmlocat.attention.triton_backend import launch
    started, run = [], launch.Launch.run
    monkeypatch.setattr(launch.Launch, 'run', lambda self, tensors: started.append(self) or run(self, tensors))
    call = Call((3, 4), batch=1)
    for leaf in call.leaves.values():
        leaf.requires_grad_(False)
    call.results()
    assert [made.kernel for made in started] == [launch.forward_kernel, launch.queries_kernel]
    assert started[1].options['WANT_LAYERS'] and not started[1].options['WANT_Q']
    started.clear()
    call.leaves['value'].requires_grad_()
    call.module.requires_grad_(False)
    call.results()
    assert [made.kernel for made in started][1:] == [launch.queries_kernel, launch.keys_kernel]
    wants = {name: want for made in started[1:] for name, want in made.options.items() if name.startswith('WANT')}
    assert [name for name, want in wants.items() if want] == ['WANT_V']


def test_no_tensor_of_variance_or_alpha_and_no_copy():
    """Forward makes the output and one number a query; backward three gradients, a record and one row a block."""
    call = Call((6, 8), prefix=1, batch=2, heads=3, dims=16)
    with Launches() as mode:
        out = call.attend()
    assert [shape for _, shape in mode.made] == [(2, 49, 3, 16), (2, 3, 49)], mode.made
    with Launches() as mode:
        torch.autograd.grad(out, [*call.leaves.values(), *call.module.parameters()], call.direction)
    sizes = sorted(torch.Size(shape).numel() for name, shape in mode.made if name in ('new_empty', 'empty', 'clone'))
    queries = 2 * 3 * 49
    assert sizes[-3:] == [queries * 16] * 3 and all(size <= 2 * 3 * 64 * 6 for size in sizes[:-3]), mode.made
    assert not any(name in ('clone', '_to_copy') for name, _ in mode.made)
    assert out.transpose(1, 2).is_contiguous()  # merging heads is a view


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_the_same_bits_in_every_run(dtype):
    call = Call((3, 7), heads=1, dtype=dtype, bias=(22, 22), gate=True)
    first = call.results()
    for _ in range(1):
        assert all(torch.equal(first[name], value) for name, value in call.results().items())


@pytest.mark.skipif(DEVICE == 'cpu', reason="Triton's interpreter does not make products in another order")
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float32])
def test_the_same_bits_in_every_run_on_a_gpu(dtype):
    call = Call((32, 32), dims=64, heads=6, dtype=dtype)
    first = call.results()
    for _ in range(5):
        assert all(torch.equal(first[name], value) for name, value in call.results().items())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('grid', [(8, 8), pytest.param((24, 20), marks=large)])
def test_half_precision_errs_at_most_twice_as_much_as_plain_attention(grid, dtype):
    """The budget is that of PyTorch's own attention in this dtype, on the same q, k and v, root mean square."""
    reason = unable('triton', torch.empty(1, 1, 1, 16, dtype=dtype, device=DEVICE), True)
    if reason:
        pytest.skip(reason)
    call = Call(grid, dims=64, dtype=dtype, batch=1)
    rows = [call.leaves[name] for name in ('query', 'key', 'value')]

    def plain(tensors, direction):
        out = torch.nn.functional.scaled_dot_product_attention(*tensors)
        return [out, *torch.autograd.grad(out, tensors, direction)]

    wide = [row.detach().double().requires_grad_() for row in rows]
    budget = [2 * (own.double() - exact).pow(2).mean().sqrt()
              for own, exact in zip(plain(rows, call.direction), plain(wide, call.direction.double()))]
    actual, expected = call.results(), call.oracle().results()
    for name, allowed in zip(('out', 'query', 'key', 'value'), budget):
        assert (actual[name].double() - expected[name]).pow(2).mean().sqrt() <= allowed, name
    # Sums over all queries: relative to their size.
    found = errors({name: actual[name] for name in LEAVES[5:]}, {name: expected[name] for name in LEAVES[5:]})
    assert max(found.values()) < {torch.float16: 5e-3, torch.bfloat16: 3e-2}[dtype], found


def test_what_half_precision_loses_under_a_large_alpha_is_the_rounding_of_the_output():
    """d alpha is a small difference then, of sums of which one is dO times the output as it was rounded.

    With all else in float32, rounding the output alone gives the error; the attention of every library that keeps its
    output in half precision for the backward pass has it.
    """
    from mmlocat.attention.triton_backend.launch import Constants, Inputs, run_backward, run_forward
    kernel, grid = GaussianKernel(14), (14, 14)
    query, key, value = (torch.randn(1, 1, 197, 32, device=DEVICE) for _ in range(3))
    variance = kernel.variance(torch.randn(1, 1, 196, 2, device=DEVICE) * 2, grid)
    alpha = kernel.alpha(torch.randn(1, 1, 196, 1, device=DEVICE)) * 100
    inputs = Inputs(query, key, value, None, None, variance, alpha, None, None)
    constants = Constants((14, 14), grid, 1, 32**-0.5)
    out, log_sum = run_forward(inputs, constants)
    direction = torch.randn_like(out)
    wants = (False, ) * 5 + (True, True, False, False)
    wide = [leaf.double().requires_grad_() for leaf in (query, key, value, variance, alpha)]
    exact = gaussian_attention(*wide, kernel=kernel, grid=grid, num_prefix_tokens=1, backend='dense')
    expected = torch.autograd.grad(exact, wide[4], direction.double())[0]
    off = []
    for kept in (out, out.bfloat16().float()):
        grad_alpha = run_backward(direction, inputs, kept, log_sum, constants, wants)[6]
        off.append(((grad_alpha.double() - expected).norm() / expected.norm()).item())
    assert off[0] < 1e-4 and 1e-2 < off[1] < 0.2, off


@large
@pytest.mark.parametrize('grid', [(36, 43), (1, 200), (33, 31)])
def test_larger_grids(grid):
    assert_equals_the_oracle(Call(grid, batch=1, heads=1, dims=32))


@pytest.mark.skipif(DEVICE == 'cpu', reason='takes an hour in the interpreter')
@pytest.mark.parametrize('grid', [(64, 64), (128, 128)])
def test_largest_grids(grid):
    assert_equals_the_oracle(Call(grid, batch=1, heads=1, dims=64), 1e-4)


def test_both_ways_over_the_keys_are_tested():
    assert {walks_rows(width) for _, width in GRIDS} == {True, False}
