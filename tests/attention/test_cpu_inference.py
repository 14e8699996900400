"""What a CPU computes in another order where no gradient is needed: the layers on heads, and the mask pair by pair."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmlocat.attention import GaussianAttention, GaussianKernel, sdpa
from mmlocat.attention.dense import gaussian_bias
from tests.attention.test_backends import CopiesOf
from tests.conftest import assert_close

GRIDS = [(7, 7), (4, 6), (1, 5)]  # the kernel's own, one beyond it, whose distances are clamped, and a line
BIASES = {'none': None, 'of heads': (1, 3, None, None), 'whole': (2, 3, None, None), 'of keys': (None, )}


@pytest.fixture
def pairs_alone(monkeypatch):
    """Makes sure that the other way to write the mask is not taken."""
    monkeypatch.setattr(sdpa, '_mask_by_factors', None)


def case(grid, prefix, dtype=torch.float64):
    """Queries, and their Gaussians, for 2 images and 3 heads."""
    kernel, patches = GaussianKernel(5 if grid == (4, 6) else grid), grid[0] * grid[1]
    query = torch.randn(2, 3, prefix + patches, 8, dtype=dtype)
    variance = kernel.variance(torch.randn(2, 3, patches, 2).double(), grid)
    return kernel, query, variance, kernel.alpha(torch.randn(2, 3, patches, 1).double())


@pytest.mark.parametrize('bias', BIASES.values(), ids=BIASES)
@pytest.mark.parametrize('prefix', [0, 2])
@pytest.mark.parametrize('grid', GRIDS)
def test_the_mask_pair_by_pair_is_the_equation(grid, prefix, bias, pairs_alone):
    kernel, query, variance, alpha = case(grid, prefix)
    expected = gaussian_bias(variance, alpha, kernel, grid, prefix)
    if bias is not None:
        bias = torch.randn([size or query.shape[2] for size in bias]).double()
        expected = expected + bias
    given = [None if bias is None else bias.clone(), variance.clone(), alpha.clone()]
    mask = sdpa.gaussian_mask(query, variance, alpha, kernel, grid, prefix, bias)
    assert_close(mask, expected, 1e-13)
    for own, before in zip((bias, variance, alpha), given):  # it is written in place, which no input may see
        assert own is None or torch.equal(own, before)


def test_half_precision_is_rounded_once(pairs_alone):
    kernel, query, variance, alpha = case((7, 7), 0, torch.bfloat16)
    bias = torch.randn(1, 3, 49, 49).bfloat16()
    mask = sdpa.gaussian_mask(query, variance.float(), alpha.bfloat16(), kernel, (7, 7), 0, bias)
    wide = gaussian_bias(variance, alpha.bfloat16().double(), kernel, (7, 7), 0) + bias.double()
    assert mask.dtype == torch.bfloat16
    # Half a step of bfloat16, and what float32 errs.
    assert ((mask.double() - wide).abs() <= wide.abs() * 2**-8 * 1.001 + 1e-6).all()


def split_heads(qkv):
    return qkv.view(4, 49, 3, 3, 8).permute(2, 0, 3, 1, 4).unbind(0)


def window_attention(dtype=torch.float32):
    """The layer of a window of 7 x 7 and its inputs, as the blocks of LocAtSwin give them."""
    layer = GaussianAttention(8, GaussianKernel(7), num_prefix_tokens=0).to(dtype)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    qkv = torch.randn(4, 49, 3 * 3 * 8, dtype=dtype)
    return layer, qkv, torch.randn(1, 3, 49, 49, dtype=dtype)


@pytest.mark.parametrize('autocast', [False, True])
def test_gradients_do_not_change_the_output(autocast):
    layer, qkv, bias = window_attention(torch.float32 if autocast else torch.float64)
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        with_gradients = layer(*split_heads(qkv), 7, bias=bias)
        with torch.no_grad():
            without = layer(*split_heads(qkv), 7, bias=bias)
    assert with_gradients.requires_grad and not without.requires_grad and with_gradients.dtype == without.dtype
    assert_close(without, with_gradients, 1e-2 if autocast else 1e-12)


class LargeTensors(TorchDispatchMode):
    """Keeps the memory of every tensor with at least so many numbers that an operation returned."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers, self.kept = numbers, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.untyped_storage().nbytes() >= self.numbers * 4:
            self.kept[result.untyped_storage().data_ptr()] = result
        return result


@torch.no_grad()
def test_one_matrix_is_written_and_no_query_copied():
    layer, qkv, bias = window_attention()
    query, key, value = split_heads(qkv)
    with CopiesOf(qkv) as copies, LargeTensors(4 * 3 * 49 * 49) as large:
        variance, alpha = layer.predict(query, 7)
        mask = sdpa.gaussian_mask(query, variance, alpha, layer.kernel, (7, 7), 0, bias)
    assert not copies.copies
    assert list(large.kept) == [mask.untyped_storage().data_ptr()]


def test_a_bias_keeps_its_gradient():
    layer, qkv, bias = window_attention(torch.float64)
    layer.requires_grad_(False)
    bias.requires_grad_()
    layer(*split_heads(qkv), 7, bias=bias).square().sum().backward()
    assert bias.grad.abs().max() > 0
