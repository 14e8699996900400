"""Pairs of map and class token from every backbone that has one, as mmseg's DPTHead takes them."""

import pytest
import torch

from mmlocat.deploy.model import Exportable
from tests.conftest import assert_close
from tests.helpers.siblings import FAMILY, sibling

PAIRS = dict(out_type='featmap_and_cls_token', out_indices=(0, 3), final_norm=False)
IMAGES = torch.randn(2, 3, 26, 36, generator=torch.Generator().manual_seed(2))  # no whole patches


@pytest.fixture(params=[name for name in FAMILY if name != 'LocAtSwin'])
def name(request):
    return request.param


def test_a_pair_holds_the_map_and_the_class_token_of_its_block(name):
    model = sibling(name, **PAIRS).eval()
    pairs = model(IMAGES)
    model.out_type = 'featmap'
    maps = model(IMAGES)
    model.out_type = 'raw'
    tokens = model(IMAGES)
    assert len(pairs) == len(maps) == 2
    for (found, token), expected, raw in zip(pairs, maps, tokens):
        assert torch.equal(found, expected) and found.is_contiguous() and found.shape == (2, 64, 7, 9)
        assert_close(token, raw[:, :3].mean(1) if name == 'LocAtJumbo' else raw[:, 0], 1e-6)


def test_recomputed_blocks_give_the_same_gradients_of_both(name):
    found = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = sibling(name, with_cp=with_cp, **PAIRS).train()
        sum((part * torch.linspace(-1, 1, part.numel()).view_as(part)).sum() for pair in model(IMAGES)
            for part in pair).backward()
        found.append({part: value.grad for part, value in model.named_parameters()})
    for part, expected in found[0].items():
        assert expected.abs().max() > 0, part
        assert_close(found[1][part], expected, 1e-5)


def test_an_export_has_an_output_for_each_part_of_a_pair(name):
    model = sibling(name, **PAIRS).eval()
    exportable = Exportable(model)
    assert exportable.outputs == ['block_0_map', 'block_0_cls_token', 'block_3_map', 'block_3_cls_token']
    with torch.no_grad():
        outputs, expected = exportable(IMAGES), [part for pair in model(IMAGES) for part in pair]
    assert len(outputs) == 4
    for output, part in zip(outputs, expected):
        assert_close(output, part, 1e-5)
