"""Layer-wise learning rates inside both libraries."""

from functools import partial

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn

import mmlocat.engine  # noqa: F401
import mmlocat.models  # noqa: F401
from tests.conftest import NANO
from tests.helpers.siblings import FAMILY, SIBLINGS

RATE, LR, DECAY = 0.5, 1e-2, 0.1


def settings(optimizer=None, **options):
    return ConfigDict(
        type='OptimWrapper',
        constructor='LayerDecayOptimWrapperConstructor',
        optimizer=optimizer or dict(type='SGD', lr=LR, weight_decay=DECAY),
        paramwise_cfg=dict(dict(layer_decay_rate=RATE), **options))


def segmentor(name=None, **backbone):
    """A segmentor of MMSegmentation around a backbone of the family, or around what the arguments build."""
    init_default_scope('mmseg')
    backbone = {**FAMILY.get(name, {}), **backbone}
    return MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(dict(arch=NANO, img_size=24, patch_size=4, out_type='featmap'), **backbone),
            decode_head=dict(type='FCNHead', in_channels=64, channels=8, num_convs=1, num_classes=3)))


def classifier():
    init_default_scope('mmpretrain')
    backbone = dict(type='LocAtViT', arch=NANO, img_size=24, patch_size=4, num_registers=2)
    head = dict(type='VisionTransformerClsHead', num_classes=3, in_channels=64)
    return MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head))


def groups(model, options):
    optimizer = build_optim_wrapper(model, options).optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)]: group for group in optimizer.param_groups for parameter in group['params']}


def expected_scale(name, blocks=4):
    """The stem is depth 0, block i is i + 1, the rest is not slowed; a merging of Swin goes with the block after it."""
    parts = name.split('.')
    if parts[1:2] == ['layers'] and parts[3] in ('blocks', 'downsample'):  # two blocks in each of two stages
        parts[2] = 2 * int(parts[2]) + (int(parts[4]) if parts[3] == 'blocks' else 0)
    if parts[0] != 'backbone':
        return 1
    if parts[1] in ('cls_token', 'reg_token', 'pos_embed', 'patch_embed'):
        return RATE**(blocks + 1)
    return RATE**(blocks - int(parts[2])) if parts[1] == 'layers' else 1


@pytest.mark.parametrize('build', [
    lambda: segmentor(type='LocAtViT', num_registers=2), lambda: segmentor(type='LocAtViT', gaug=False),
    lambda: segmentor(type='mmpretrain.VisionTransformer'), classifier, *(partial(segmentor, name) for name in SIBLINGS)
], ids=['LocAtViT in mmseg', 'plain in mmseg', "mmpretrain's ViT in mmseg", 'LocAtViT in mmpretrain', *SIBLINGS])
def test_rates_fall_with_depth_in_both_libraries(build):
    model = build()
    found = groups(model, settings())
    assert set(found) == {name for name, _ in model.named_parameters()}
    scales = {name: group['lr'] / LR for name, group in found.items()}
    assert scales == pytest.approx({name: expected_scale(name) for name in scales})
    assert len(set(scales.values())) == 6  # stem, four blocks, head


@pytest.mark.parametrize('kind', FAMILY)
def test_a_step_moves_each_parameter_by_its_rate(kind):
    model = segmentor(kind, frozen_stages=1)
    optimizer = build_optim_wrapper(model, settings(dict(type='SGD', lr=LR, weight_decay=0.))).optimizer
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    rates = sorted({group['lr'] for group in optimizer.param_groups}, reverse=True)
    # A frozen stage of Swin is two blocks, a frozen block of the others is one.
    assert rates == pytest.approx([LR * RATE**depth for depth in range(3 if kind == 'LocAtSwin' else 4)])
    for name, parameter in model.named_parameters():
        moved = (before[name] - parameter).mean().item()
        assert moved == pytest.approx(LR * expected_scale(name) if parameter.requires_grad else 0, rel=1e-3), name
    assert not next(model.backbone.blocks[0].parameters()).requires_grad


@pytest.mark.parametrize('kind', FAMILY)
def test_weight_decay_follows_the_options(kind):
    free = dict(decay_mult=0.)
    named = ('cls_token', 'reg_token', 'pos_embed', 'rope.freqs', 'relative_position_bias_table')
    model = segmentor(kind, **(dict(num_registers=2) if kind == 'LocAtViT' else {}))
    found = groups(model, settings(
        norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0.,
        custom_keys={**{f'.{key}': free for key in named}, 'conv_seg': dict(lr_mult=10.)}))
    free_ones = {name for name, group in found.items() if group['weight_decay'] == 0}
    assert free_ones == {name for name, parameter in model.named_parameters()
                         if (parameter.ndim == 1 and 'conv_seg' not in name)
                         or name.endswith(named)}
    assert {group['weight_decay'] for name, group in found.items() if name not in free_ones} == {DECAY}
    # A custom key's multiple is taken too; the parent lets it pass unheard.
    assert found['decode_head.conv_seg.weight']['lr'] == pytest.approx(10 * LR)
    assert found['decode_head.convs.0.conv.weight']['lr'] == pytest.approx(LR)
    flat = dict(RoPE='rope.freqs', LocAtSwin='layers.0.blocks.0.attn.relative_position_bias_table')
    assert groups(model, settings())[f'backbone.{flat.get(kind, "cls_token")}']['weight_decay'] == DECAY


def test_a_classifier_gets_what_mmpretrain_would_give_it():
    model = classifier()
    own = groups(model, settings(norm_decay_mult=0.))
    theirs = groups(model, ConfigDict(settings(norm_decay_mult=0.),
                                      constructor='mmpretrain.LearningRateDecayOptimWrapperConstructor'))
    for name, group in own.items():
        assert {k: v for k, v in group.items() if k != 'params'} == {
            k: v for k, v in theirs[name].items() if k != 'params'}


class Silent(nn.Module):

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(2, 2)


@pytest.mark.parametrize(('model', 'options', 'error', 'message'), [
    (Silent, settings(), TypeError,
     r'Linear does not say how deep .* get_layer_depth\(param_name, prefix\), such as LocAtViT'),
    (Silent, settings(layer_decay_rate=0), ValueError, 'layer_decay_rate=0 in paramwise_cfg: .* above 0, up to 1'),
    (Silent, settings(layer_decay_rate=1.5), ValueError, 'layer_decay_rate=1.5'),
    (Silent, settings(layer_decay_rate=None), ValueError, 'layer_decay_rate=None'),
    (Silent, settings(num_layers=12), ValueError, 'num_layers in paramwise_cfg is no option of layer-wise decay'),
    (Silent, settings(bias_lr_mult=2.), ValueError, 'bias_lr_mult in paramwise_cfg is no option .* takes layer_decay'),
    (Silent, settings(custom_keys=dict(head=dict(lr=1))), ValueError, r"lr in custom_keys\['head'\] is no option"),
    (Silent, settings(dict(type='SGD', lr=LR)), ValueError, r'needs weight_decay in optim_wrapper.optimizer.*0 for'),
    (Silent, settings(dict(type='AdamW', weight_decay=0.)), ValueError, 'needs lr in optim_wrapper.optimizer'),
])
def test_what_it_cannot_do_is_said(model, options, error, message):
    with pytest.raises(error, match=message):
        build_optim_wrapper(model(), options)
