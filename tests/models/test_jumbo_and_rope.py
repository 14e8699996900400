"""LocAtJumbo and LocAtViT with RoPE: weights in and out, arguments, freezing, initialisation."""

import math

import pytest
import torch

from mmlocat.attention.vit.rope import MixedRope, rotate
from mmlocat.models import LocAtJumbo, LocAtViT
from tests.conftest import load_golden
from tests.models.test_golden_variants import weights_of

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
SMALL = dict(arch=ARCH, img_size=24, patch_size=4)


def test_the_shared_mlp_is_in_memory_once():
    model = LocAtJumbo(**SMALL)
    names = [name for name, _ in model.named_parameters() if 'jumbo_mlp' in name]
    assert names == [f'jumbo_mlp.{part}.{kind}' for part in ('fc1', 'fc2') for kind in ('weight', 'bias')]


def test_a_checkpoint_whose_blocks_disagree_about_the_shared_mlp_is_refused():
    case = load_golden('locatjumbo')
    weights = weights_of(case)
    weights['blocks.1.jumbo_mlp.fc1.weight'] = weights['blocks.1.jumbo_mlp.fc1.weight'] + 1
    settings = case.kwargs
    arch = dict(embed_dims=settings['embed_dim'], num_layers=2, num_heads=settings['num_heads'],
                feedforward_channels=4 * settings['embed_dim'])
    model = LocAtJumbo(arch, settings['img_size'], settings['patch_size'], num_cls_tokens=settings['J'])
    with pytest.raises(ValueError, match='several jumbo_mlp.fc1.weight, which are not equal'):
        model.load_state_dict(weights, strict=False)


def test_own_weights_of_jumbo_load_again():
    model, other = LocAtJumbo(**SMALL), LocAtJumbo(**SMALL)
    other.load_state_dict(model.state_dict(), strict=False)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(('gaug', 'final_norm', 'expected'), [
    (True, True, {'ln1', 'norm_patches'}), (False, True, {'ln1'}), (True, False, set())])
def test_norms_are_built_where_the_paper_has_them(gaug, final_norm, expected):
    names = {name.split('.')[0] for name, _ in LocAtJumbo(**SMALL, gaug=gaug, final_norm=final_norm).named_parameters()}
    assert names & {'ln1', 'norm_patches'} == expected


def test_a_plain_classifier_becomes_locat_with_a_new_norm_of_patches():
    """PRR needs that norm; the class tokens do not see it."""
    plain, model = LocAtJumbo(**SMALL, gaug=False), LocAtJumbo(**SMALL, gaug_init='identity')
    plain.layers[0].gamma3.weight.data.fill_(0.5)
    report = model.fit_checkpoint(plain.state_dict())
    assert 'norm_patches.weight' in report.missing and len(report.missing) == 2 * 4 + 2
    model.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(2, 3, 30, 20)
    torch.testing.assert_close(model(images)[0], plain(images)[0], rtol=0, atol=1e-4)
    partly = {name: value for name, value in LocAtJumbo(**SMALL).state_dict().items() if 'log_var' not in name}
    with pytest.raises(RuntimeError, match='has GAug weights in part: it lacks layers.0.attn.gaug.log_var'):
        model.load_state_dict(partly, strict=False)


def test_class_tokens_come_out_joined():
    images = torch.randn(2, 3, 30, 20)
    shapes = {kind: tuple(LocAtJumbo(**SMALL, out_type=kind)(images)[0].shape)
              for kind in ('cls_token', 'raw', 'featmap', 'avg_featmap')}
    assert shapes == dict(cls_token=(2, 96), raw=(2, 46, 16), featmap=(2, 16, 8, 5), avg_featmap=(2, 16))


def test_jumbo_starts_as_published():
    model = LocAtJumbo(**SMALL)
    model.init_weights()
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.3)
    assert all((layer.gamma3.weight == 1e-4).all() for layer in model.layers)


def test_a_frozen_jumbo_has_no_gradient():
    model = LocAtJumbo(**SMALL, frozen_stages=2)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    half = LocAtJumbo(**SMALL, frozen_stages=1)
    assert not half.jumbo_mlp.fc1.weight.requires_grad and half.layers[1].ln3.weight.requires_grad


@pytest.mark.parametrize(('options', 'message'), [
    (dict(num_cls_tokens=1), 'num_cls_tokens of LocAtJumbo must be a whole number from 2, got 1'),
    (dict(jumbo_mlp_ratio=0), 'jumbo_mlp_ratio of LocAtJumbo must be positive, got 0'),
    (dict(layer_scale_init_value=0), 'layer_scale_init_value of LocAtJumbo must be positive, got 0'),
    (dict(num_registers=4), 'LocAtJumbo takes no num_registers'),
    (dict(rope='mixed'), 'LocAtJumbo takes no rope'),
])
def test_wrong_arguments_of_jumbo_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        LocAtJumbo(**SMALL, **options)


def test_a_wrong_rope_is_named():
    with pytest.raises(ValueError, match="rope must be 'mixed' or None, got 'axial'"):
        LocAtViT(**SMALL, rope='axial')
    with pytest.raises(ValueError, match='divisible by 4, got 6'):
        LocAtViT(dict(ARCH, embed_dims=12), 24, 4, rope='mixed')


def test_frequencies_start_as_directions_with_falling_magnitudes():
    freqs = MixedRope('mixed', 2, 3, 48).freqs.detach()
    magnitude = freqs.square().sum(0).sqrt()
    expected = 10 ** (-torch.arange(4) / 4)
    torch.testing.assert_close(magnitude, torch.cat([expected, expected]).expand(2, 3, 8))
    inner = (freqs[:, ..., :4] * freqs[:, ..., 4:]).sum(0)  # the two halves are a quarter turn apart
    torch.testing.assert_close(inner, torch.zeros_like(inner), rtol=0, atol=1e-6)


def test_a_rotation_keeps_lengths_and_depends_on_the_distance_alone():
    rope = MixedRope('mixed', 1, 2, 16)
    angles = rope.angles(0, (3, 5))
    query, key = torch.randn(2, 1, 2, 1, 8).expand(2, 1, 2, 15, 8)
    turned = [rotate(part, angles, 0) for part in (query, key)]
    torch.testing.assert_close(turned[0].norm(dim=-1), query.norm(dim=-1))
    logits = (turned[0] @ turned[1].transpose(-1, -2))[0, 0]
    torch.testing.assert_close(logits[0, 6], logits[1, 7])  # one row and one column on, in both
    assert not torch.allclose(logits[0, 6], logits[0, 1])


def test_prefix_tokens_are_not_rotated():
    x = torch.randn(1, 2, 3 + 4, 8)
    turned = rotate(x, MixedRope('mixed', 1, 2, 16).angles(0, (2, 2)), 3)
    assert torch.equal(turned[:, :, :3], x[:, :, :3]) and not torch.equal(turned[:, :, 4:], x[:, :, 4:])
    assert torch.equal(turned[:, :, 3], x[:, :, 3])  # the patch at row 0, column 0


def test_deeper_blocks_of_rope_models_start_smaller():
    model = LocAtViT(dict(ARCH, embed_dims=64, feedforward_channels=256), 24, 4, rope='mixed', with_pos_embed=False)
    model.init_weights()
    for number, layer in enumerate(model.layers, 1):
        expected = 0.02 / math.sqrt(2 * number)
        assert layer.attn.proj.weight.std().item() == pytest.approx(expected, rel=0.05)
        assert layer.ffn.layers[1].weight.std().item() == pytest.approx(expected, rel=0.05)
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.4)


def test_positions_are_not_rescaled():
    rope = MixedRope('mixed', 1, 2, 16)
    small, large = (rope.angles(0, grid).unflatten(1, grid) for grid in ((2, 3), (4, 5)))
    torch.testing.assert_close(small, large[:, :2, :3])
