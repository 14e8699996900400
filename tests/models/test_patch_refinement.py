"""PRR as a neck."""

import pytest
import torch

from mmlocat.attention import refine_patches
from mmlocat.models import PatchRefinement

TOKENS = torch.randn(2, 13, 8)


def test_tokens():
    expected = refine_patches(TOKENS, 2)
    assert torch.equal(PatchRefinement(2, out_type='raw')(TOKENS)[0], expected)
    assert torch.equal(PatchRefinement(2)((TOKENS, ))[0], expected[:, 0])
    average = PatchRefinement(2, out_type='avg_featmap', num_extra_tokens=1)([TOKENS, TOKENS])
    assert len(average) == 2 and torch.equal(average[1], expected[:, 1:].mean(1))


def test_maps():
    feature = TOKENS[:, 1:].transpose(1, 2).reshape(2, 8, 3, 4)
    expected = refine_patches(TOKENS[:, 1:], 2)
    assert torch.equal(PatchRefinement(2, out_type='raw')(feature)[0],
                       expected.transpose(1, 2).reshape(2, 8, 3, 4))
    assert torch.equal(PatchRefinement(2, out_type='avg_featmap')(feature)[0], expected.mean(1))


def test_has_no_parameters_and_refuses_bad_input():
    assert not list(PatchRefinement(2).parameters())
    with pytest.raises(ValueError, match=r"got \(2, 8\); set the backbone's out_type"):
        PatchRefinement(2)(TOKENS[:, 0])
