"""LocAtViT as a backbone: arguments, outputs, freezing, initialisation."""

import math

import pytest
import torch
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.registry import MODELS as PRETRAIN_MODELS
from mmseg.registry import MODELS as SEG_MODELS

from mmlocat.attention import GaussianKernel
from mmlocat.models import LocAtViT
from tests.conftest import NANO, assert_close

IMAGE = torch.randn(2, 3, 24, 24)


def nano(**options):
    return LocAtViT(NANO, 24, 4, **options)


@pytest.mark.parametrize(('arch', 'total', 'dims', 'heads'), [('tiny', 5_719_756, 192, 3),
                                                              ('small', 22_053_004, 384, 6),
                                                              ('base', 86_569_996, 768, 12)])
def test_parameter_counts_with_a_1000_class_head(arch, total, dims, heads):
    model = LocAtViT(arch)
    plain = LocAtViT(arch, gaug=False)
    count = sum(p.numel() for p in model.parameters()) + dims * 1000 + 1000
    assert count == total
    assert count - (sum(p.numel() for p in plain.parameters()) + dims * 1000 + 1000) == 2340
    assert model.layers[0].attn.num_heads == heads and len(model.layers) == 12


def test_other_arch_names_keep_their_meaning():
    for name in ('s', 'deit-small', 'l', 'dinov2-giant'):
        assert LocAtViT.arch_zoo[name] == VisionTransformer.arch_zoo[name]


@pytest.mark.parametrize('registry', [PRETRAIN_MODELS, SEG_MODELS])
@pytest.mark.parametrize('name', ['LocAtViT', 'LocAtSwin', 'LocAtJumbo', 'PatchRefinement'])
def test_both_registries_know_it(registry, name):
    assert registry.get(name) is not None
    assert registry.get(f'mmpretrain.{name}') is registry.get(name)


def test_plain_arm_equals_mmpretrain():
    ours, theirs = nano(gaug=False, out_type='raw'), VisionTransformer(NANO, 24, 4, out_type='raw')
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert_close(ours(IMAGE)[0], theirs(IMAGE)[0], 1e-6)
    # Nothing but the two small layers is added to the checkpoint layout.
    extra = set(nano().state_dict()) - set(theirs.state_dict())
    assert len(extra) == 4 * 4 and all('.attn.gaug.log_' in name for name in extra)


def test_variance_starts_at_one_and_alpha_at_ln_two():
    model = LocAtViT('tiny')
    model.init_weights()
    gaug = model.layers[0].attn.gaug
    variance, alpha = gaug.predict(torch.zeros(1, 1, 196, 64), (14, 14))
    assert torch.allclose(variance, torch.ones_like(variance))
    assert torch.allclose(alpha, torch.full_like(alpha, math.log(2)))
    variance, alpha = gaug.predict(torch.randn(1, 3, 196, 64), (14, 14))
    assert abs(variance.mean() - 1) < 0.1 and abs(alpha.mean() - 0.693) < 0.05


def test_initialisation_is_the_papers():
    model = LocAtViT('tiny', num_registers=4)
    model.init_weights()
    layer = model.layers[3]
    for linear in (layer.attn.qkv, layer.attn.proj, layer.ffn.layers[0][0], layer.ffn.layers[1]):
        assert abs(linear.weight.std() - 0.02) < 1e-3 and not linear.bias.any()
    for linear in (layer.attn.gaug.log_var, layer.attn.gaug.log_alpha):
        assert 0.005 < linear.weight.std() < 0.04 and not linear.bias.any()
    assert abs(model.pos_embed.std() - 0.02) < 1e-3
    assert 0 < model.cls_token.std() < 3e-6 and 0 < model.reg_token.std() < 3e-6


def test_one_seed_gives_all_arms_the_same_shared_weights():
    states = []
    for gaug in (False, True):
        torch.manual_seed(3)
        model = nano(gaug=gaug)
        model.init_weights()
        states.append((model.state_dict(), torch.rand(1)))
    (plain, after_plain), (locat, after_locat) = states
    assert all(torch.equal(value, locat[name]) for name, value in plain.items())
    assert torch.equal(after_plain, after_locat)  # a head drawn next is the same too
    torch.manual_seed(4)
    assert not torch.equal(nano(gaug=True).state_dict()['layers.0.attn.gaug.log_var.weight'],
                           locat['layers.0.attn.gaug.log_var.weight'])


def test_gaussian_layers_share_no_draw_with_others_or_each_other():
    model = nano()
    for _ in range(2):  # as constructed, and as initialised
        drawn = [layer.attn.gaug.log_var.weight.flatten() for layer in model.layers]
        drawn += [layer.attn.gaug.log_alpha.weight.flatten() for layer in model.layers]
        for i, one in enumerate(drawn):
            for other in drawn[i + 1:]:
                assert not torch.isin(one, other).any()
            for name, parameter in model.named_parameters():
                if 'gaug' not in name and parameter.std() > 0:
                    assert torch.isin(one, parameter).float().mean() < 0.1, name
        model.init_weights()


def test_out_types_and_indices():
    shapes = {'raw': (2, 37, 64), 'cls_token': (2, 64), 'featmap': (2, 64, 6, 6), 'avg_featmap': (2, 64)}
    for out_type, shape in shapes.items():
        assert [tuple(out.shape) for out in nano(out_type=out_type)(IMAGE)] == [shape]
    for indices in ((0, -1), [0, -1], (0, 3)):
        model = nano(out_indices=indices)
        assert list(model.out_indices) == [0, 3] and len(model(IMAGE)) == 2
    indices = [0, -1]
    nano(out_indices=indices)
    assert indices == [0, -1]  # a config's list is not changed


@pytest.mark.parametrize('backend', ['auto', 'dense', 'sdpa', 'streaming'])
def test_train_and_eval_compute_the_same_function(backend):
    model = nano(attention_backend=backend, out_type='raw')
    assert model.train() is model and model.eval() is model
    images, outputs = torch.randn(2, 3, 28, 32), {}
    for training in (True, False):
        for with_gradients in (True, False):
            with torch.set_grad_enabled(with_gradients):
                outputs[training, with_gradients] = model.train(training)(images)[-1].detach()
    for with_gradients in (True, False):
        assert torch.equal(outputs[True, with_gradients], outputs[False, with_gradients])
    assert_close(outputs[True, True], outputs[False, False], 1e-5)


@pytest.mark.parametrize(('stages', 'options'), [
    (1, dict()), (4, dict()), (1, dict(rope='mixed')), (4, dict(rope='mixed'))])
def test_frozen_stages_survive_train(stages, options):
    indices = sorted({stages - 1, 3})
    model = nano(frozen_stages=stages, num_registers=2, out_type='raw', out_indices=indices, **options).train()
    everything = stages == 4
    assert model.training is not everything
    frozen = [model.patch_embed, *model.layers[:stages]] + ([model.ln1] if everything else [])
    for module in frozen:
        assert not any(child.training for child in module.modules())
        assert not any(p.requires_grad for p in module.parameters())
    assert not (model.cls_token.requires_grad or model.pos_embed.requires_grad or model.reg_token.requires_grad)
    features, last = model(IMAGE)[0], model(IMAGE)[-1]
    assert last.requires_grad is not everything
    assert any(p.requires_grad for p in model.parameters()) is not everything
    if not everything:
        assert model.layers[stages].training and all(p.requires_grad for p in model.layers[stages].parameters())
        last.sum().backward()
        torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5).step()  # decays what has a gradient of zero too
        after = model(IMAGE)
        assert torch.equal(after[0], features) and not torch.equal(after[-1], last)


def test_layer_scale_and_drop_path():
    model = nano(layer_scale_init_value=1e-4, drop_path_rate=0.3)
    rates = [layer.attn.out_drop.drop_prob for layer in model.layers]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])
    assert torch.allclose(model.layers[2].attn.gamma1.weight, torch.full((64, ), 1e-4))
    before = model.eval()(IMAGE)[0]
    assert before.isfinite().all()
    assert not torch.equal(model.train()(IMAGE)[0], before)


def test_reference_grid():
    assert LocAtViT('tiny').kernel == GaussianKernel(14)
    assert nano().kernel == GaussianKernel(6)
    assert nano(ref_grid=(14, 14)).kernel == GaussianKernel(14)
    assert LocAtViT(NANO, (24, 46), 4).kernel == GaussianKernel((6, 12))
    assert nano(gaug=False).kernel is None
    near, far = nano(), nano(ref_grid=60)
    far.load_state_dict(dict(near.state_dict()))  # without the record of its grid
    assert not torch.allclose(near(IMAGE)[0], far(IMAGE)[0])


def test_without_class_token():
    model = nano(with_cls_token=False, out_type='raw')
    assert model(IMAGE)[0].shape == (2, 36, 64) and model.num_extra_tokens == 0
    assert nano(with_cls_token=False, num_registers=3, out_type='raw')(IMAGE)[0].shape == (2, 39, 64)


def test_layer_depth():
    model = nano(num_registers=1)
    depths = {name: model.get_layer_depth(f'backbone.{name}', 'backbone.') for name in
              ('cls_token', 'reg_token', 'pos_embed', 'patch_embed.projection.weight',
               'layers.2.attn.gaug.log_var.weight', 'ln1.weight')}
    assert [depth for depth, _ in depths.values()] == [0, 0, 0, 0, 3, 5]
    assert all(total == 6 for _, total in depths.values())
