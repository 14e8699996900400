"""LocAtSwin: windows, weights of the libraries' plain Swins, frozen stages, arguments."""

import pytest
import torch
from mmpretrain.models.backbones import SwinTransformer

from mmlocat.attention import GaussianAttention
from mmlocat.checkpoints import swin_names
from mmlocat.models import LocAtSwin

SMALL = dict(embed_dims=8, depths=(2, 2), num_heads=(1, 2))


def build(**options):
    return LocAtSwin(**{**dict(arch=SMALL, img_size=64, window_size=4), **options})


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


def drawn(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1, generator=generator)
    model.eval()
    return model


def test_weights_of_timm_give_its_features_where_nothing_is_padded():
    timm = pytest.importorskip('timm')
    theirs = drawn(timm.models.SwinTransformer(
        img_size=64, window_size=4, embed_dim=8, depths=(2, 2), num_heads=(1, 2), num_classes=0))
    ours = build(gaug=False, out_type='raw').eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)  # a hook of the backbone is strict
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = theirs.forward_features(images).flatten(1, 2)
        torch.testing.assert_close(ours(images)[0], features, rtol=1e-4, atol=1e-4)


def test_weights_of_mmseg_give_its_features_where_nothing_is_padded():
    mmseg = pytest.importorskip('mmseg.models.backbones')
    theirs = drawn(mmseg.SwinTransformer(
        64, embed_dims=8, depths=(2, 2), num_heads=(1, 2), window_size=4, strides=(4, 2), out_indices=(0, 1)))
    ours = build(gaug=False, out_indices=(0, 1)).eval()
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


def test_the_report_names_the_window_that_the_gaussians_lie_on():
    """Not the grid of another window that the checkpoint records: windows stay."""
    model, source = build(), build(window_size=8, img_size=128)
    report = model.fit_checkpoint(source.state_dict(), metadata=dict(ref_grid=(8, 8)))
    where = 'reference grid (4, 4), a window of the first stage, from window_size and img_size'
    assert str(report).endswith(f'{where}; the checkpoint records (8, 8)') and model.ref_grid == (4, 4)
    assert str(model.fit_checkpoint(build().state_dict(), metadata=dict(ref_grid=(4, 4)))).endswith(where)
    with pytest.raises(RuntimeError, match=r'LocAtSwin cannot take \(8, 8\) .* set window_size and img_size'):
        model.replace_kernel((8, 8))


def test_depths_grow_from_stem_to_norm():
    model = build()
    depth = {name: model.get_layer_depth(name)[0] for name, _ in model.named_parameters()}
    assert depth['patch_embed.proj.weight'] == 0
    assert depth['layers.0.blocks.1.attn.qkv.weight'] == 2
    assert depth['layers.1.downsample.reduction.weight'] == depth['layers.1.blocks.0.norm1.weight'] == 3
    assert model.get_layer_depth('norm.weight') == (5, 6)


@pytest.mark.parametrize(('stages', 'parts'), [(0, 1), (1, 2), (2, 4)])
def test_frozen_stages_have_no_gradient_and_stay_in_evaluation_mode(stages, parts):
    model = build(frozen_stages=stages, drop_path_rate=0.5).train()
    in_order = [model.patch_embed, *model.layers, model.norm]
    for number, part in enumerate(in_order):
        assert part.training == (number >= parts)
        assert {parameter.requires_grad for parameter in part.parameters()} == {number >= parts}


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
    (dict(patch_size=(4, 2)), ValueError, r'patch_size of LocAtSwin must be one whole number, .* got \(4, 2\)'),
    (dict(mlp_ratio=0), ValueError, 'mlp_ratio must be positive, got 0'),
    (dict(attention_backend='streaming'), ValueError, "'streaming' cannot add the relative positions .* take 'sdpa'"),
    (dict(num_registers=4), TypeError, "unexpected keyword argument 'num_registers'"),
])
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        build(**options)
