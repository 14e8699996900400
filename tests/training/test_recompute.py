"""The Runner's ``activation_checkpointing`` above frozen blocks, and names that are none."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing

from mmlocat.config import load_config
from mmlocat.training.context import Context
from mmlocat.training.recompute import check_recomputed, recompute_activations
from tests.conftest import ROOT

NAMES = [f'backbone.layers.{block}' for block in range(4)]


def gradients(recompute):
    """Returns the blocks that get a gradient when two of four are frozen, and those gradients."""
    init_default_scope('mmseg')
    model = load_config(str(ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py')).model
    model.backbone.frozen_stages = 2
    torch.manual_seed(0)
    built = MODELS.build(model).train()
    recompute(built, NAMES)
    built(torch.randn(2, 3, 36, 36)).square().mean().backward()
    found = {name: value.grad for name, value in built.named_parameters() if value.grad is not None}
    return {name.split('.')[2] for name in found if name.startswith('backbone.layers')}, found


@pytest.mark.filterwarnings('ignore')
def test_blocks_above_frozen_ones_keep_their_gradients():
    blocks, expected = gradients(lambda model, names: None)
    assert blocks == {'2', '3'}
    own, found = gradients(recompute_activations)
    assert own == blocks and found.keys() == expected.keys()
    assert all(torch.allclose(value, expected[name], atol=1e-7) for name, value in found.items())
    theirs, _ = gradients(turn_on_activation_checkpointing)
    assert theirs == set()  # the fault that is worked around; when this fails, mmengine has mended it


def test_names_of_no_module():
    model = torch.nn.Sequential(torch.nn.Linear(1, 1))
    context = Context(runner=SimpleNamespace(model=model))
    check_recomputed(Config(dict(activation_checkpointing='0')), context)
    check_recomputed(Config(dict()), context)
    with pytest.raises(ValueError, match="names 'layers.0', which this model has not; .* model.backbone.with_cp=True"):
        check_recomputed(Config(dict(activation_checkpointing=['0', 'layers.0'])), context)
