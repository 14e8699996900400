"""The retrofit configs take the weights that they name, in the layouts of their authors: random ones, made with timm.

timm's model of the same weights is the oracle: the LocAtViT begins as it.
"""

import re

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmlocat.config import load_config
from tests.conftest import ROOT

vits = pytest.importorskip('timm.models.vision_transformer', reason='timm is not installed')
ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
IMAGE = {'dinov2': (518, 14)}  # of pretraining, and of a patch, in px


def made(name, **options):
    """Returns timm's ViT of a layout in small, with random weights, norm left out, and its state dict with norm."""
    side, patch = IMAGE.get(name, (224, 16))
    torch.manual_seed(0)
    model = vits.VisionTransformer(
        side, patch, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2, num_classes=5, **options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    weights = dict(model.state_dict())
    model.norm = torch.nn.Identity()
    return model.eval(), weights


def without_head(weights):
    return {name: value for name, value in weights.items() if not name.startswith('head.')}


def dinov2(weights):
    return dict(without_head(weights), mask_token=torch.zeros(1, 32))


def with_registers(weights):
    """DINOv2's own file: the class token has a position beside it, which timm adds up; registers have none."""
    weights, share = dinov2(weights), torch.randn(1, 1, 32)
    return dict({name: value for name, value in weights.items() if name != 'reg_token'},
                cls_token=weights['cls_token'] - share, register_tokens=weights['reg_token'],
                pos_embed=torch.cat([share, weights['pos_embed']], dim=1))


QUICK = dict(pre_norm=True, act_layer='quick_gelu', norm_layer=torch.nn.LayerNorm)
CASES = {  # by config and what is special: timm's arguments, the file, options of the config
    'deit': ({}, lambda weights: dict(model=weights), {}),
    'dino-small': ({}, without_head, {}),
    'mae': ({}, lambda weights: dict(model=without_head(weights)), {}),
    'clip': (QUICK, lambda weights: weights, {}),
    'dinov2': (dict(init_values=1e-5), dinov2, {}),
    'dinov2 registers': (dict(init_values=1e-5, reg_tokens=4, no_embed_class=True), with_registers,
                         {'model.backbone.num_registers': 4}),
}


@pytest.mark.parametrize('case', CASES)
def test_it_begins_as_the_vit_whose_weights_it_takes(case, tmp_path, monkeypatch):
    options, layout, changes = CASES[case]
    name = case.split()[0]
    plain, weights = made(name, **options)
    torch.save(layout(weights), tmp_path / 'theirs.pth')
    config = load_config(str(ROOT / 'configs' / f'locatvit-{name}_upernet_ade20k.py'), changes)
    assert config.model.backbone.init_cfg.checkpoint == config.checkpoint and config.model.backbone.gaug
    config.model.backbone.update(arch=ARCH, out_indices=-1)
    config.model.backbone.init_cfg.checkpoint = str(tmp_path / 'theirs.pth')
    said = []
    monkeypatch.setattr('mmlocat.models.backbones.base.print_log', lambda text, *more, **_: said.append(str(text)))
    init_default_scope('mmseg')
    backbone = MODELS.build(config.model.backbone)
    backbone.init_weights()
    backbone.eval()
    side = IMAGE.get(name, (224, 16))[0]
    images = torch.randn(1, 3, side, side)
    with torch.no_grad():
        found, expected = backbone(images)[0], plain.forward_features(images)[:, plain.num_prefix_tokens:]
    # 1e-4 is what the identity start is allowed, of features of the size of these.
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, rtol=1e-3, atol=1e-3)
    report = next(text for text in said if text.startswith('Weights of LocAtViT'))
    assert re.search(r'missing.*gaug', report) and 'unused' not in report.replace('unused, without effect: ln1', '')
    assert backbone.ref_grid == ((37, 37) if name == 'dinov2' else (14, 14))


@pytest.mark.parametrize('case', ['clip', 'dinov2', 'dinov2 registers'])
def test_a_config_of_another_layout_refuses_them(case, tmp_path):
    """The error names the argument to look at."""
    options, layout, _ = CASES[case]
    _, weights = made('deit', **options)
    torch.save(layout(weights), tmp_path / 'theirs.pth')
    config = load_config(str(ROOT / 'configs' / 'locatvit-deit_upernet_ade20k.py'))
    config.model.backbone.update(arch=ARCH, out_indices=-1)
    config.model.backbone.init_cfg.checkpoint = str(tmp_path / 'theirs.pth')
    init_default_scope('mmseg')
    with pytest.raises(RuntimeError, match='pre_norm|layer_scale_init_value|patch_cfg|check arch'):
        MODELS.build(config.model.backbone).init_weights()


def test_alpha_has_a_rate_of_its_own():
    """Adam moves a weight by at most about the sum of its rates: by that of the others, 6e-5 and falling to 0 in
    160,000 steps, by 4.8, which is not the way from -10 to 0.
    """
    for name in ('deit', 'dino-small', 'mae', 'clip', 'dinov2'):
        config = load_config(str(ROOT / 'configs' / f'locatvit-{name}_upernet_ade20k.py'))
        keys = config.optim_wrapper.paramwise_cfg.custom_keys
        assert keys['.gaug.log_alpha.bias'] == dict(lr_mult=100., decay_mult=0.) and '.cls_token' in keys
        assert config.model.backbone.gaug_init == 'identity'
    steps = next(step for step in config.train_dataloader.dataset.pipeline if step.type == 'RandomCrop')
    assert steps.crop_size == config.model.data_preprocessor.size == (518, 518)
