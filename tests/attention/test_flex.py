"""What only the FlexAttention back-end has; its outputs are compared with the oracle in test_backends."""

import pytest
import torch
from conftest import runs_here

from mmlocat.attention import GaussianKernel, flex, gaussian_attention


def test_flex_refuses_gradients_and_dropout_with_the_reason():
    runs_here('flex', torch.ones(1))
    kernel = GaussianKernel(14)
    query, key, value = torch.randn(3, 1, 2, 10, 8).requires_grad_().unbind(0)
    variance, alpha = torch.ones(1, 2, 9, 2), torch.ones(1, 2, 9, 1)

    def attend(**options):
        return gaussian_attention(query, key, value, variance, alpha, kernel=kernel, grid=3, num_prefix_tokens=1,
                                  backend='flex', **options)

    with pytest.raises(RuntimeError, match="'flex' cannot run here: .*in no fixed order.*; these can: dense, sdpa, st"):
        attend()
    with torch.no_grad(), pytest.raises(RuntimeError, match="'flex' has no dropout .*'streaming' and 'sdpa' have"):
        attend(dropout_p=0.1)


def test_flex_does_not_compile_for_each_grid():
    runs_here('flex', torch.ones(1))
    from torch._dynamo.testing import CompileCounter
    traces = CompileCounter()
    compiled = torch.compile(flex.biased_flex_attention, dynamic=True, backend=traces)
    kernel = GaussianKernel(14)
    with torch.no_grad():
        for grid in ((8, 9), (14, 14), (20, 33), (7, 5), (40, 12)):
            tokens = grid[0] * grid[1]
            query, key, value = torch.randn(3, 1, 2, tokens, 16).unbind(0)
            rows, columns = kernel.factors(torch.rand(1, 2, tokens, 2) + 1, grid)
            place = torch.arange(tokens)
            compiled(query, key, value, torch.nn.functional.pad(rows, (0, 1)), columns, place // grid[1],
                     place % grid[1], 0.25)
    assert traces.frame_count <= 2  # a second time where two sizes of the first grid happened to be equal
