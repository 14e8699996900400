"""What the Triton back-end refuses: each in one line that says why, and what can."""

import re
import subprocess
import sys

import pytest
import torch

from mmlocat.attention import GaussianAttention, GaussianKernel, backends, triton_backend
from mmlocat.attention.backends import automatic_order, unable
from tests.conftest import ROOT, child_environment

QUERY = torch.empty(1, 1, 1, 16)


@pytest.fixture
def there(monkeypatch):
    """A Triton that is there and new, in its interpreter."""
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    monkeypatch.setattr(triton_backend, '_installed', lambda *names: (9, 0) if 'triton' in names else (2, 0))


def test_what_is_missing_is_marked_as_pytorch_marks_a_constant():
    marked = torch.compiler.assume_constant_result(lambda: None)
    assert vars(marked).items() <= vars(triton_backend.missing).items() and vars(marked)


@pytest.mark.parametrize(('dtype', 'dims', 'more', 'reason'), [
    (torch.float64, 16, {}, 'take float32, float16 and bfloat16, not float64'),
    (torch.bfloat16, 16, {}, "interpreter cannot multiply bfloat16"),
    (torch.float32, 7, {}, 'take heads of 8 to 128 channels, not 7'),
    (torch.float32, 129, {}, 'take heads of 8 to 128 channels, not 129'),
    (torch.float32, 16, dict(dropout_p=0.1), r'have no dropout \(dropout_p=0.1\)'),
    (torch.float32, 16, dict(scale=0.0), 'take a positive scale, not 0.0'),
])
def test_calls(dtype, dims, more, reason, there):
    query = torch.empty(1, 1, 1, dims, dtype=dtype)
    assert re.search(reason, unable('triton', query, True, **more))
    assert unable('triton', QUERY, True, has_bias=True) is None


def test_too_many_tokens(there):
    assert 'take less than 1048576 tokens' in unable('triton', QUERY.expand(1, 1, 1 << 20, 16), False)


@pytest.mark.parametrize(('versions', 'interpreted', 'reason'), [
    (dict(), True, 'Triton is not installed'),
    (dict(triton=(3, 1)), True, 'Triton 3.1 is too old: 3.2 is needed, which comes with PyTorch 2.6'),
    (dict(triton=(2, 1)), False, 'Triton 2.1 is too old'),
    (dict(triton=(3, 6), numpy=(2, 4)), True, 'the interpreter of Triton 3.6 needs numpy below 2.4'),
    (dict(triton=(3, 6), numpy=(2, 3)), True, None),
    (dict(triton=(3, 8), numpy=(2, 4)), True, None),
    (dict(triton=(3, 8)), False, 'Triton is for CUDA'),
])
def test_versions(versions, interpreted, reason, monkeypatch):
    monkeypatch.setenv('TRITON_INTERPRET', str(int(interpreted)))
    monkeypatch.setattr(triton_backend, '_installed',
                        lambda *names: next((versions[name] for name in names if name in versions), None))
    found = unable('triton', QUERY, False)
    assert found is None if reason is None else reason in found and '\n' not in found


@pytest.mark.parametrize(('capability', 'hip', 'reason'), [
    ((7, 5), None, 'compute capability 7.5; the Triton kernels need 8.0'), ((9, 0), '6.2', 'not for ROCm'),
    ((8, 0), None, None), ((9, 0), None, None), ((12, 0), None, None),
])
def test_gpus(capability, hip, reason, monkeypatch, there):
    monkeypatch.delenv('TRITON_INTERPRET')
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda index: capability)
    monkeypatch.setattr(torch.version, 'hip', hip)
    monkeypatch.setattr(triton_backend, '_has_compiler', lambda: True)
    found = triton_backend.missing('cuda', 0, True)
    assert found is None if reason is None else reason in found


def test_no_c_compiler(monkeypatch, there):
    monkeypatch.delenv('TRITON_INTERPRET')
    monkeypatch.setattr(torch.version, 'hip', None)
    monkeypatch.setattr(triton_backend, '_has_compiler', lambda: False)
    assert 'finds no C compiler: install gcc' in triton_backend.missing('cuda', 0, False)


def test_a_learned_scale_is_refused(there):
    rows = [torch.randn(1, 2, 10, 16) for _ in range(3)]
    with pytest.raises(TypeError, match='scale must be a number; where it is learned, multiply the query by it'):
        GaussianAttention(16, GaussianKernel(3))(*rows, (3, 3), scale=torch.ones(()))


def test_a_refusal_names_what_can(there):
    module = GaussianAttention(16, GaussianKernel(3), 1, 'triton')
    rows = [torch.randn(1, 2, 10, 16) for _ in range(3)]
    with pytest.raises(RuntimeError, match='no dropout .* these can: dense, sdpa, streaming$'):
        module(*rows, (3, 3), dropout_p=0.1)
    module.backend = 'streaming'
    with pytest.raises(RuntimeError, match="'streaming' cannot run here: .* bias; these can: dense, sdpa, triton$"):
        module(*rows, (3, 3), bias=torch.zeros(10, 10))


def test_auto_takes_it_on_cuda_first_and_never_on_a_cpu():
    for needs_grad in (False, True):
        assert automatic_order((8, 12, 1025), 'cuda', torch.bfloat16, needs_grad)[0] == 'triton'
        assert 'triton' not in automatic_order((8, 12, 1025), 'cpu', torch.float32, needs_grad)
    # Without it, one mask in inference; in training a mask a block is kept, so only small ones.
    assert automatic_order((8, 12, 4097), 'cuda', torch.bfloat16, False)[1] == 'sdpa'
    assert automatic_order((8, 12, 4097), 'cuda', torch.bfloat16, True)[1] == 'streaming'
    assert automatic_order((8, 12, 1025), 'cuda', torch.bfloat16, True)[1] == 'sdpa'


def test_auto_on_a_cpu_computes_without_triton(monkeypatch, there):
    monkeypatch.setattr(backends.triton_backend, 'attend_and_predict', lambda *args, **kwargs: pytest.fail('taken'))
    module = GaussianAttention(16, GaussianKernel(3))
    assert module(*(torch.randn(1, 2, 10, 16) for _ in range(3)), (3, 3)).abs().max() > 0


def test_importing_attention_does_not_import_triton():
    environment = {name: value for name, value in child_environment().items() if name != 'TRITON_INTERPRET'}
    code = 'import sys, mmlocat.attention; print("mmlocat.attention.triton_backend.launch" in sys.modules)'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert result.stdout.split()[-1] == 'False', result.stdout + result.stderr
