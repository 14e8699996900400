"""RoPE, Jumbo and Swin against the published implementation: features, tokens, logits, and their gradients."""

import pytest
import torch
from mmpretrain.registry import MODELS
from torch.nn.functional import linear

from mmlocat.attention import available_backends
from mmlocat.checkpoints.names import to_timm_names
from mmlocat.models import LocAtJumbo, LocAtSwin, LocAtViT, PatchRefinement
from tests.conftest import assert_close, device_of, golden_names, load_golden, runs_here

CASES = sorted({*golden_names('locatvit_rope'), *golden_names('vit_rope'), *golden_names('locatjumbo'),
                *golden_names('jumbo'), *golden_names('locatswin'), *golden_names('swin')})


def backbone_of(case, **options):
    """Builds the backbone of a golden case by registry, with its weights, under the published code's names."""
    settings, gaug = case.kwargs, any('gaug' in name for name in case.tensors)
    common = dict(img_size=settings['img_size'], patch_size=settings['patch_size'], gaug=gaug, out_indices=case.indices,
                  **options)
    if 'Swin' in case.kind:
        arch = dict(embed_dims=settings['embed_dim'], depths=settings['depths'], num_heads=settings['num_heads'])
        config = dict(type='LocAtSwin', arch=arch, window_size=settings['window_size'], **common)
    else:
        arch = dict(embed_dims=settings['embed_dim'], num_layers=settings['depth'], num_heads=settings['num_heads'],
                    feedforward_channels=4 * settings['embed_dim'])
        if case.kind == 'Jumbo':
            config = dict(type='LocAtJumbo', arch=arch, num_cls_tokens=settings['J'],
                          jumbo_mlp_ratio=settings['jumbo_mlp_ratio'], **common)
        else:
            config = dict(type='LocAtViT', arch=arch, rope='mixed', with_pos_embed=False, layer_scale_init_value=1e-5,
                          num_registers=settings.get('num_reg_tokens', 0), **common)
    model = MODELS.build(config)
    model.load_state_dict(weights_of(case), strict=False)  # a hook of the backbone is strict
    return model.eval()


def weights_of(case):
    return {name[len('weights/'):]: value for name, value in case.tensors.items() if name.startswith('weights/')}


def logits_of(case, tokens):
    """Refines tokens as PRR does, if the case has it, and applies the published head."""
    weights, gaug = weights_of(case), any('gaug' in name for name in case.tensors)
    heads = case.kwargs['num_heads']
    if gaug:
        tokens = PatchRefinement(heads[-1] if isinstance(heads, list) else heads, out_type='raw')(tokens)[0]
    if 'Swin' in case.kind:
        return tokens, linear(tokens.mean(1), weights['head.fc.weight'], weights['head.fc.bias'])
    return tokens, linear(tokens[:, :case.kwargs.get('J', 1)].flatten(1), weights['head.weight'], weights['head.bias'])


def check_gradients(case, prefix, scalar, model, images):
    names, parameters = zip(*model.named_parameters())
    gradients = torch.autograd.grad(scalar, (images, *parameters), allow_unused=True)
    found = dict(zip(('input', *names), gradients))
    expected = {name[len(prefix):]: value for name, value in case.tensors.items() if name.startswith(prefix)}
    translated = model.translate({name: value for name, value in expected.items() if name != 'input'}).state_dict
    assert len(expected) > 5
    assert_close(found['input'], expected['input'], 1e-4)
    for name, value in translated.items():
        assert_close(found[name], value, 1e-4)


@pytest.fixture(params=[(name, size) for name in CASES for size in range(len(load_golden(name).sizes))],
                ids=lambda param: f'{param[0]}-{param[1]}')
def case(request):
    name, size = request.param
    case = load_golden(name)
    case.size = size
    return case


def test_every_case_is_here():
    assert len(CASES) == 9


def test_features_and_their_gradients(case):
    model = backbone_of(case, out_type='featmap', final_norm=False)
    images = case.tensors[f'input_{case.size}'].requires_grad_()
    maps = model(images)
    assert len(maps) == len(case.indices)
    for index, actual in zip(case.indices, maps):
        assert actual.is_contiguous()
        assert_close(actual, case.tensors[f'feat{index}_{case.size}'], 1e-5)
    scalar = (maps[-1] * case.tensors[f'grad_feat_{case.size}']).sum()
    check_gradients(case, f'feat_grads_{case.size}/', scalar, model, images)


def test_tokens_logits_and_their_gradients(case):
    model = backbone_of(case, out_type='raw')
    images = case.tensors[f'input_{case.size}'].requires_grad_()
    tokens = model(images)[-1]
    assert_close(tokens, case.tensors[f'tokens_{case.size}'].reshape(tokens.shape), 1e-5)
    refined, logits = logits_of(case, tokens)
    if f'refined_{case.size}' in case.tensors:
        assert_close(refined, case.tensors[f'refined_{case.size}'].reshape(tokens.shape), 1e-5)
    assert (logits - case.tensors[f'logits_{case.size}']).abs().max() <= 1e-5
    scalar = (logits * case.tensors[f'grad_logits_{case.size}']).sum()
    check_gradients(case, f'logits_grads_{case.size}/', scalar, model, images)


def test_weights_go_back_to_published_names_bit_equal(case):
    saved = backbone_of(case).state_dict()
    published = {name: value for name, value in weights_of(case).items() if not name.startswith('head.')}
    back = saved if 'Swin' in case.kind else to_timm_names(saved)
    assert back.keys() == published.keys()
    assert all(torch.equal(back[name], value) for name, value in published.items())


@pytest.mark.parametrize('backend', [name for name in available_backends() if name != 'streaming'])
@pytest.mark.parametrize('name', ['locatvit_rope_mixed', 'locatjumbo', 'locatswin_window7'])
@torch.no_grad()
def test_every_back_end_gives_the_features(name, backend):
    runs_here(backend, torch.ones(1, device=device_of(backend)))
    case = load_golden(name, device_of(backend))
    model = backbone_of(case, out_type='featmap', final_norm=False, attention_backend=backend).to(device_of(backend))
    last = len(case.sizes) - 1
    for index, actual in zip(case.indices, model(case.tensors[f'input_{last}'])):
        assert_close(actual, case.tensors[f'feat{index}_{last}'], 1e-5)


@pytest.mark.parametrize('name', ['locatvit_rope_mixed', 'locatjumbo', 'locatswin_window7'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
@torch.no_grad()
def test_other_dtypes_follow(name, dtype):
    case = load_golden(name)
    model = backbone_of(case, out_type='featmap', final_norm=False).to(dtype)
    images, expected = case.tensors['input_0'].to(dtype), case.tensors[f'feat{case.indices[-1]}_0']
    actual = model(images)[-1]
    assert actual.dtype == dtype
    assert_close(actual.float(), expected, 0.05 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize('name', ['locatvit_rope_mixed_reg4', 'locatjumbo', 'locatswin_window4'])
def test_recomputed_blocks_have_the_same_gradients(name):
    case = load_golden(name)
    model = backbone_of(case, out_type='featmap', final_norm=False, with_cp=True).train()
    last = len(case.sizes) - 1
    images = case.tensors[f'input_{last}'].requires_grad_()
    scalar = (model(images)[-1] * case.tensors[f'grad_feat_{last}']).sum()
    check_gradients(case, f'feat_grads_{last}/', scalar, model, images)


ROPE = dict(rope='mixed', with_pos_embed=False, layer_scale_init_value=1e-5)


@pytest.mark.parametrize(('kind', 'options', 'channels', 'expected'), [
    (LocAtViT, dict(arch='tiny', **ROPE), 192, 5_688_844), (LocAtViT, dict(arch='base', **ROPE), 768, 86_446_348),
    (LocAtViT, dict(arch='tiny', gaug=False, **ROPE), 192, 5_686_504),
    (LocAtViT, dict(arch='base', gaug=False, **ROPE), 768, 86_444_008),
    (LocAtJumbo, dict(arch='tiny'), 6 * 192, 17_351_500), (LocAtJumbo, dict(arch='base'), 6 * 768, 260_498_956),
    (LocAtJumbo, dict(arch='tiny', gaug=False), 6 * 192, 17_348_776),
    (LocAtJumbo, dict(arch='base', gaug=False), 6 * 768, 260_495_080),
    (LocAtSwin, dict(arch='tiny'), 768, 28_289_542), (LocAtSwin, dict(arch='base'), 1024, 87_770_600),
    (LocAtSwin, dict(arch='tiny', gaug=False), 768, 28_288_354),
    (LocAtSwin, dict(arch='base', gaug=False), 1024, 87_768_224)])
def test_parameters_are_counted_as_in_the_paper(kind, options, channels, expected):
    with torch.device('meta'):
        model = kind(**options)
    classifier = 1000 * channels + 1000
    assert sum(parameter.numel() for parameter in model.parameters()) + classifier == expected
