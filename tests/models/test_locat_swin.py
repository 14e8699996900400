"""LocAtSwin computes what the published code does, with its weights and those of the libraries' plain Swins."""

import pytest
import torch
from mmpretrain.models.backbones import SwinTransformer
from mmpretrain.registry import MODELS

import mmlocat.models  # noqa: F401 - registers
from mmlocat.attention import GaussianAttention, refine_patches
from mmlocat.checkpoints import swin_names
from tests.conftest import assert_close, golden_names, load_golden

SMALL = dict(embed_dims=8, depths=(2, 2), num_heads=(1, 2))
CASES = golden_names('swin') + golden_names('locatswin')


def build(**options):
    return MODELS.build({**dict(type='LocAtSwin', arch=SMALL, img_size=64, window_size=4), **options})


def of_case(case, **options):
    settings = case.kwargs
    arch = dict(embed_dims=settings['embed_dim'], depths=settings['depths'], num_heads=settings['num_heads'])
    model = build(arch=arch, img_size=settings['img_size'], patch_size=settings['patch_size'], out_indices=case.indices,
                  window_size=settings['window_size'], gaug=case.kind.startswith('LocAt'), **options)
    model.load_state_dict(weights_of(case), strict=False)  # a hook of the backbone is strict
    return model.eval()


def weights_of(case):
    return {name[len('weights/'):]: value for name, value in case.tensors.items() if name.startswith('weights/')}


def check_gradients(case, prefix, scalar, model, images):
    names, parameters = zip(*model.named_parameters())
    gradients = dict(zip(('input', *names), torch.autograd.grad(scalar, (images, *parameters), allow_unused=True)))
    expected = {name[len(prefix):]: value for name, value in case.tensors.items() if name.startswith(prefix)}
    assert expected
    for name, value in expected.items():
        assert_close(gradients[name], value, 1e-4)


@pytest.fixture(params=CASES)
def case(request):
    return load_golden(request.param)


@pytest.mark.parametrize('size', [0, 1])
def test_features_and_their_gradients_are_the_published_ones(case, size):
    model = of_case(case, final_norm=False)
    images = case.tensors[f'input_{size}'].requires_grad_()
    maps = model(images)
    for stage, actual in zip(case.indices, maps):
        assert actual.is_contiguous()
        assert_close(actual, case.tensors[f'feat{stage}_{size}'], 1e-5)
    check_gradients(case, f'feat_grads_{size}/', (maps[-1] * case.tensors[f'grad_feat_{size}']).sum(), model, images)


@pytest.mark.parametrize('size', [0, 1])
def test_logits_and_their_gradients_are_the_published_ones(case, size):
    model = of_case(case, out_type='raw')
    images = case.tensors[f'input_{size}'].requires_grad_()
    tokens = model(images)[-1]
    assert_close(tokens, case.tensors[f'tokens_{size}'].flatten(1, 2), 1e-5)
    if case.kind.startswith('LocAt'):
        tokens = refine_patches(tokens, case.kwargs['num_heads'][-1])
        assert_close(tokens, case.tensors[f'refined_{size}'].flatten(1, -2), 1e-5)
    weights = weights_of(case)
    logits = tokens.mean(1) @ weights['head.fc.weight'].T + weights['head.fc.bias']
    torch.testing.assert_close(logits, case.tensors[f'logits_{size}'], rtol=0, atol=1e-5)
    check_gradients(case, f'logits_grads_{size}/', (logits * case.tensors[f'grad_logits_{size}']).sum(), model, images)


def test_saved_weights_are_the_published_ones(case):
    saved = of_case(case).state_dict()
    published = {name: value for name, value in weights_of(case).items() if not name.startswith('head.')}
    assert saved.keys() == published.keys()
    assert all(torch.equal(saved[name], value) for name, value in published.items())


def test_recomputed_blocks_have_the_same_gradients():
    case = load_golden('locatswin_window4')
    images = case.tensors['input_1'].requires_grad_()
    model = of_case(case, final_norm=False, with_cp=True).train()
    scalar = (model(images)[-1] * case.tensors['grad_feat_1']).sum()
    check_gradients(case, 'feat_grads_1/', scalar, model, images)


@pytest.mark.parametrize(('arch', 'channels', 'gaug', 'expected'), [
    ('tiny', 768, True, 28_289_542), ('tiny', 768, False, 28_288_354),
    ('base', 1024, True, 87_770_600), ('base', 1024, False, 87_768_224)])
def test_parameters_are_counted_as_in_the_paper(arch, channels, gaug, expected):
    with torch.device('meta'):
        model = build(arch=arch, img_size=224, window_size=7, gaug=gaug)
    classifier = 1000 * channels + 1000
    assert sum(parameter.numel() for parameter in model.parameters()) + classifier == expected


def test_the_last_stage_of_224_px_never_shifts():
    with torch.device('meta'):
        model = build(arch='tiny', img_size=224, window_size=7)
    shifts = [[block.shift for block in stage.blocks] for stage in model.layers]
    assert shifts[0] == [(0, 0), (3, 3)] and shifts[3] == [(0, 0), (0, 0)]
    assert model.layers[3].blocks[0].window == (7, 7)


def mmpretrain_swin(**options):
    torch.manual_seed(1)
    model = SwinTransformer(dict(SMALL), img_size=64, window_size=4, drop_path_rate=0., out_indices=(0, 1), **options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.eval()  # not chained: it returns None
    return model


def test_weights_of_mmpretrain_give_its_features_where_nothing_is_padded():
    theirs, ours = mmpretrain_swin(), build(gaug=False, out_indices=(0, 1)).eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images)[1], theirs(images)[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('there', ['to_openmmlab', 'to_original'])
def test_names_of_the_libraries_go_there_and_back(there):
    own = build(gaug=False).state_dict()
    others = getattr(swin_names, there)(own)
    assert list(others) != list(own)
    back, library = swin_names.to_published(others)
    assert library == dict(to_openmmlab='OpenMMLab', to_original='Swin Transformer')[there]
    assert back.keys() == own.keys()
    assert all(torch.equal(back[name], value) for name, value in own.items())


def test_weights_for_mmpretrain_load_there_strictly():
    own = build(gaug=False).state_dict()
    theirs = mmpretrain_swin().state_dict()
    given = swin_names.to_openmmlab(own)
    allowed = {name for name in theirs if name.startswith('norm0.') or name.endswith('relative_position_index')}
    assert given.keys() == theirs.keys() - allowed
    assert all(given[name].shape == theirs[name].shape for name in given)


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.'])
def test_the_original_repository_s_files_load(prefix):
    own = build(gaug=False).state_dict()
    theirs = {prefix + name: value for name, value in swin_names.to_original(own).items()}
    theirs[f'{prefix}layers.0.blocks.0.attn.relative_position_index'] = torch.zeros(16, 16)
    theirs[f'{prefix}layers.0.blocks.1.attn_mask'] = torch.zeros(4, 16, 16)
    theirs['head.weight'] = torch.zeros(10, 16)
    model = build(gaug=False, final_norm=False)
    model.load_state_dict(dict(model=theirs) if prefix == '' else theirs, strict=False)
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_tables_of_another_window_are_resized():
    source = build(gaug=False, window_size=8, img_size=128)
    model = build(gaug=False)
    weights = source.state_dict()
    report = model.fit_checkpoint(weights)
    assert 'tables of relative positions' in str(report)
    table = weights['layers.0.blocks.0.attn.relative_position_bias_table']
    assert table.shape == (49, 1)
    constant = {name: torch.ones_like(value) for name, value in source.state_dict().items()}
    model.fit_checkpoint(constant)
    torch.testing.assert_close(constant['layers.0.blocks.0.attn.relative_position_bias_table'], torch.ones(49, 1))


def test_a_plain_swin_becomes_locat_without_changing():
    plain = build(gaug=False).eval()
    model = build(gaug_init='identity').eval()
    model.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(2, 3, 75, 53)
    with torch.no_grad():
        torch.testing.assert_close(model(images)[0], plain(images)[0], rtol=0, atol=1e-4)


def test_a_checkpoint_without_gaug_is_refused():
    with pytest.raises(RuntimeError, match="lacks 16 of .* weights of LocAtSwin.*gaug_init='identity'"):
        build().load_state_dict(build(gaug=False).state_dict(), strict=False)


def test_depths_grow_from_stem_to_norm():
    model = build()
    depth = {name: model.get_layer_depth(name)[0] for name, _ in model.named_parameters()}
    assert depth['patch_embed.proj.weight'] == 0
    assert depth['layers.0.blocks.1.attn.qkv.weight'] == 2
    assert depth['layers.1.downsample.reduction.weight'] == depth['layers.1.blocks.0.norm1.weight'] == 3
    assert model.get_layer_depth('norm.weight') == (5, 6)


@pytest.mark.parametrize(('stages', 'parts'), [(1, 2), (2, 3)])
def test_frozen_stages_have_no_gradient_and_stay_in_evaluation_mode(stages, parts):
    model = build(frozen_stages=stages, drop_path_rate=0.5).train()
    frozen = [model.patch_embed, model.layers[0], *([model.layers[1], model.norm] if stages == 2 else [])]
    assert len(frozen) >= parts and not any(part.training for part in frozen)
    assert not any(parameter.requires_grad for part in frozen for parameter in part.parameters())
    assert stages == 2 or all(parameter.requires_grad for parameter in model.layers[1].parameters())


def test_a_map_serves_every_out_type():
    images = torch.randn(1, 3, 30, 50)
    shapes = {kind: tuple(build(out_type=kind)(images)[0].shape) for kind in ('featmap', 'raw', 'avg_featmap')}
    assert shapes == dict(featmap=(1, 16, 4, 7), raw=(1, 28, 16), avg_featmap=(1, 16))


def test_gaussians_lie_on_windows():
    modules = [module for module in build(img_size=16).modules() if isinstance(module, GaussianAttention)]
    assert [module.kernel.ref_grid for module in modules] == [(4, 4)] * 2 + [(2, 2)] * 2


@pytest.mark.parametrize(('options', 'error', 'message'), [
    (dict(arch='huge'), AssertionError, 'not in default archs'),
    (dict(arch=dict(embed_dims=8)), AssertionError, 'Custom arch needs'),
    (dict(arch=dict(SMALL, num_heads=(1, 3))), ValueError, 'num_heads=3 does not divide the 16 channels of stage 1'),
    (dict(arch=dict(SMALL, depths=(2, ))), ValueError, '1 depths and 2 num_heads'),
    (dict(out_indices=2), AssertionError, 'Invalid out_indices 2'),
    (dict(window_size=0), ValueError, 'window_size must be a positive whole number of tokens, got 0'),
    (dict(out_type='cls_token'), ValueError, "unknown out_type 'cls_token'"),
    (dict(frozen_stages=3), ValueError, 'frozen_stages=3, but there are 2 stages'),
    (dict(gaug_init='none'), ValueError, "gaug_init must be 'paper', 'identity' or None, got 'none'"),
    (dict(img_size=-1), ValueError, 'img_size must be'),
    (dict(drop_path_rate=1), ValueError, 'drop_path_rate'),
])
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        build(**options)


def test_wrong_images_are_named():
    with pytest.raises(ValueError, match='images of shape'):
        build()(torch.zeros(1, 4, 32, 32))
