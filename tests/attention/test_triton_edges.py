"""The Triton back-end at its edges: masks, layouts beyond 32 bits, nothing to do, precision, what it refuses."""

import subprocess
import sys

import pytest
import torch

from mmlocat.attention import GaussianAttention, GaussianKernel
from mmlocat.attention.backends import unable
from tests.conftest import ROOT, child_environment
from tests.helpers.triton_cases import DEVICE, REF, Call, assert_equals_the_oracle

REASON = unable('triton', torch.empty(1, 1, 1, 16, device=DEVICE), True)
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def test_a_bias_may_exclude_keys():
    """-inf for every key of a tile but the last, as masks of windows have it."""
    call = Call((5, 30), batch=1, heads=1)
    bias = torch.zeros(1, 1, call.tokens, call.tokens, device=DEVICE)
    bias[..., :140] = float('-inf')
    call.leaves['bias'] = bias
    assert_equals_the_oracle(call)


@pytest.mark.parametrize('shape', [(0, 2), (2, 0)])
def test_empty_batches_and_no_heads(shape):
    call = Call((3, 4), batch=shape[0], heads=shape[1])
    found = call.results()
    assert found['out'].shape == (*shape, 13, 16)
    assert all(not tensor.any() for tensor in found.values())


def test_tokens_more_than_2_to_the_31_elements_apart():
    """Storage is reserved and never touched but for the tokens' own channels."""
    grid, step = (3, 4), 2**28 + 16
    storage = torch.empty(12 * step + 64, dtype=torch.float16, device=DEVICE)
    rows = [torch.randn(1, 1, 13, 16, device=DEVICE).half() for _ in range(3)]
    wide = [storage[16 * i:].as_strided((1, 1, 13, 16), (16, 16, step, 1)) for i in range(3)]
    for strided, row in zip(wide, rows):
        strided.copy_(row)
    far = storage[48:].as_strided((1, 1, 13, 16), (16, 16, step, 1)).copy_(torch.randn(1, 1, 13, 16))
    assert wide[0][0, 0, -1].storage_offset() > 2**31
    module = GaussianAttention(16, GaussianKernel(REF), 1, 'triton').to(DEVICE)
    results = []
    # Inputs that are far apart, and a gradient of the output.
    for leaves, direction in ((wide, far), (rows, far), (rows, far.contiguous())):
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        out = module(*leaves, grid)
        results.append([out, *torch.autograd.grad(out, leaves, direction)])
    for found in results[:2]:
        assert all(torch.equal(own, expected) for own, expected in zip(found, results[2]))
    assert all(tensor.abs().max() > 0.1 for tensor in results[2])


def test_a_second_derivative_is_one_clear_line():
    call = Call((3, 4), batch=1, heads=1)
    query = call.leaves['query']
    gradient, = torch.autograd.grad(call.attend().sum(), query, create_graph=True)
    with pytest.raises(RuntimeError, match="back-end 'triton' has no second derivative; 'dense' and 'sdpa' have"):
        gradient.square().sum().backward()


def test_tf32_only_where_pytorch_allows_it(monkeypatch):
    from mmlocat.attention.triton_backend import launch
    precisions, run = [], launch.Launch.run
    monkeypatch.setattr(launch.Launch, 'run',
                        lambda self, tensors: precisions.append(self.options['IP']) or run(self, tensors))
    before = torch.get_float32_matmul_precision()
    try:
        for allowed in ('highest', 'high'):
            torch.set_float32_matmul_precision(allowed)
            with torch.no_grad():
                Call((2, 2), batch=1, heads=1).attend()
                Call((2, 2), batch=1, heads=1, dtype=torch.float16).attend()
    finally:
        torch.set_float32_matmul_precision(before)
    assert precisions == ['ieee', 'ieee', 'tf32', 'ieee']


def test_stays_in_its_dtype_under_autocast():
    call = Call((3, 4))
    expected = call.results()
    with torch.autocast(DEVICE, torch.bfloat16):
        out = call.attend()
    assert out.dtype == torch.float32 and torch.equal(out, expected['out'])


def test_more_prefix_tokens_than_a_tile_holds():
    assert_equals_the_oracle(Call((2, 3), prefix=70, bias=(76, 76), gate=True))


@pytest.mark.parametrize('value', [float('-inf'), torch.finfo(torch.float32).min, -1e31, -1e9])
def test_a_query_whose_keys_are_all_masked_gives_zero_and_no_gradient(value):
    """As in PyTorch's own attention for -inf. The other queries do not notice."""
    call = Call((3, 4), batch=1)
    call.leaves['bias'] = torch.zeros(call.tokens, call.tokens, device=DEVICE)
    call.leaves['bias'][5] = value
    found = call.results()
    assert all(tensor.isfinite().all() for tensor in found.values())
    assert not found['out'][:, :, 5].any() and not found['query'][:, :, 5].any()
    # What the others give: the same call, in which that query is given no weight by the output's gradient.
    call.leaves['bias'] = torch.zeros(call.tokens, call.tokens, device=DEVICE)
    call.direction = call.direction.clone()
    call.direction[:, :, 5] = 0
    expected = call.oracle().results()
    for name in ('key', 'value', 'log_var.weight', 'log_alpha.bias'):
        assert (found[name].double() - expected[name]).norm() <= 1e-5 * expected[name].norm()


def test_the_newer_switch_of_tf32_is_read_too():
    """In a process of its own: where it was set, PyTorch 2.9 and later refuse to read the older one."""
    if not hasattr(torch.backends.cuda.matmul, 'fp32_precision'):
        pytest.skip(f'PyTorch {torch.__version__} has the older switch alone')
    code = ('import torch; from mmlocat.attention.triton_backend.launch import _precision\n'
            'for value in ("tf32", "ieee"):\n'
            '    torch.backends.cuda.matmul.fp32_precision = value\n'
            '    print(_precision(torch.float32), _precision(torch.float16))')
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT,
                            env=child_environment())
    assert result.stdout.split() == ['tf32', 'ieee', 'ieee', 'ieee'], result.stderr


def test_a_compiled_call_of_too_many_tokens_is_refused():
    from mmlocat.attention.triton_backend.launch import Constants, Inputs, plan_of
    row = torch.empty(1, 1, 1 << 20, 16, device='meta')
    layers = [torch.empty(shape, device='meta') for shape in ((2, 16), (2, ), (1, 16), (1, ))]
    with pytest.raises(RuntimeError, match="less than 1048576 tokens, not 1048576; backend='streaming' takes more"):
        plan_of(Inputs(row, row, row, None, None, *layers), Constants((5, 5), (1024, 1024), 0, 1.0))


def test_a_gate_that_needs_no_gradient_gets_none(monkeypatch):
    from mmlocat.attention.triton_backend import launch
    started, run = [], launch.Launch.run
    monkeypatch.setattr(launch.Launch, 'run', lambda self, tensors: started.append(self.options) or run(self, tensors))
    call = Call((3, 4), batch=1, gate=True)
    call.leaves['gate_query'].requires_grad_(False)
    found = call.results()
    assert started[1]['WANT_LAYERS'] and not started[1]['WANT_GATE'] and 'gate_query' not in found
