"""PRR on its own."""

import pytest
import torch

from mmlocat.attention import refine_patches, refinement_weights


def test_is_the_printed_equation():
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    heads = x.view(2, 5, 3, 4).transpose(1, 2)
    expected = (heads @ heads.transpose(-2, -1) / 2).softmax(-1) @ heads
    assert torch.allclose(refine_patches(x, 3), expected.transpose(1, 2).reshape(2, 5, 12))


def test_every_patch_gets_a_gradient_from_the_first_token():
    x = torch.randn(1, 10, 8, requires_grad=True)
    refine_patches(x, 2)[:, 0].sum().backward()
    assert (x.grad.abs().sum(-1) > 0).all()


def test_refuses_bad_input():
    with pytest.raises(ValueError, match='num_heads=3 does not divide the 8 channels'):
        refine_patches(torch.randn(1, 4, 8), 3)
    with pytest.raises(ValueError, match=r'\(B, N, C\), got \(4, 8\)'):
        refine_patches(torch.randn(4, 8), 2)


def test_weights_are_those_of_the_refinement():
    tokens = torch.randn(2, 7, 12)
    heads = tokens.unflatten(-1, (3, 4)).transpose(1, 2)
    weights = refinement_weights(tokens, 3)
    assert torch.allclose((weights @ heads).transpose(1, 2).flatten(2), refine_patches(tokens, 3), atol=1e-6)
    assert torch.equal(refinement_weights(tokens, 3, torch.tensor([0, 4])), weights[:, :, [0, 4]])
