"""Weights into LocAtViT: position embeddings, names, and checkpoints that are none of ours."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmlocat.attention.vit.position import resize_position_embedding
from mmlocat.models import LocAtViT
from mmlocat.training.context import TRAIN, Context
from mmlocat.training.initial_weights import fit_weights
from tests.conftest import NANO, load_golden


def test_resize_has_pils_antialiasing():
    # Independent of torch: PIL's bicubic filter, which antialiases.
    import numpy as np
    from PIL import Image
    grid = torch.randn(14, 14)
    for target in ((32, 32), (9, 20), (5, 5)):
        expected = np.asarray(Image.fromarray(grid.numpy(), mode='F').resize(target[::-1], Image.Resampling.BICUBIC))
        resized = resize_position_embedding(grid.reshape(1, 196, 1), (14, 14), target, 0)
        assert (resized.reshape(target) - torch.from_numpy(expected.copy())).abs().max() < 1e-5


def test_resize_keeps_prefix_entries_and_dtype():
    embedding = torch.randn(1, 5 + 36, 8, dtype=torch.float16)
    resized = resize_position_embedding(embedding, (6, 6), (3, 4), 5)
    assert resized.shape == (1, 5 + 12, 8) and resized.dtype == torch.float16
    assert torch.equal(resized[:, :5], embedding[:, :5])
    assert resize_position_embedding(embedding, (6, 6), (6, 6), 5) is embedding
    with pytest.raises(ValueError, match=r'41 entries does not fit a grid of \(5, 5\) with 5 prefix'):
        resize_position_embedding(embedding, (5, 5), (3, 4), 5)


def test_checkpoint_of_another_grid_is_resized_on_load():
    source, target = LocAtViT(NANO, 24, 4), LocAtViT(NANO, 36, 4)
    target.load_state_dict(source.state_dict())
    expected = resize_position_embedding(source.pos_embed, (6, 6), (9, 9), 1)
    assert torch.equal(target.pos_embed, expected)


def test_checkpoint_with_a_class_token_into_a_model_without():
    source = LocAtViT(NANO, 24, 4)
    target = LocAtViT(NANO, 24, 4, with_cls_token=False, out_type='raw')
    target.load_state_dict(source.state_dict(), strict=False)
    assert torch.equal(target.pos_embed, source.pos_embed[:, 1:])


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.', 'module.backbone.'])
def test_init_cfg_takes_backbones_in_wrappers(prefix, tmp_path):
    source = LocAtViT(NANO, 24, 4)
    state = {prefix + name: value for name, value in source.state_dict().items()}
    torch.save(dict(state_dict={**state, 'head.weight': torch.ones(3)}), tmp_path / 'checkpoint.pth')
    target = LocAtViT(NANO, 24, 4, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'checkpoint.pth')))
    assert not torch.equal(target.layers[0].attn.qkv.weight, source.layers[0].attn.qkv.weight)
    target.init_weights()
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


def test_init_cfg_takes_published_names(tmp_path):
    case = load_golden('locatvit')
    weights = {key[len('weights/'):]: value for key, value in case.tensors.items() if key.startswith('weights/')}
    torch.save(weights, tmp_path / 'published.pth')
    arch = dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=96)
    model = LocAtViT(arch, 24, 4, out_type='raw',
                     init_cfg=[dict(type='Pretrained', checkpoint=str(tmp_path / 'published.pth'))])
    model.init_weights()
    with torch.no_grad():
        assert (model.eval()(case.tensors['input_0'])[0] - case.tensors['tokens_0']).abs().max() < 1e-5


def test_a_checkpoint_without_one_of_our_weights_is_refused(tmp_path):
    torch.save({'conv1.weight': torch.ones(2), 'fc.bias': torch.ones(2)}, tmp_path / 'resnet.pth')
    model = LocAtViT(NANO, 24, 4, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'resnet.pth')))
    with pytest.raises(RuntimeError, match='none of the 2 entries of the checkpoint is a weight of LocAtViT.*conv1'):
        model.init_weights()


@pytest.mark.parametrize(('options', 'message'), [
    (dict(gaug=False), 'lacks 16 of 70 weights of LocAtViT: layers.0.attn.gaug.log_var.weight'),
    (dict(arch=dict(NANO, feedforward_channels=64)),
     r'has in another shape 12 of 70 .*layers.0.ffn.layers.0.0.weight \(64, 64\) instead of \(256, 64\)'),
    (dict(arch=dict(NANO, num_layers=2)), 'lacks 32 of 70 weights'),
])
def test_a_checkpoint_that_would_leave_the_model_half_loaded_is_refused(options, message, tmp_path):
    source = LocAtViT(**{**dict(arch=NANO, img_size=24, patch_size=4), **options})
    torch.save(source.state_dict(), tmp_path / 'weights.pth')
    model = LocAtViT(NANO, 24, 4, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth')))
    with pytest.raises(RuntimeError, match=message):
        model.init_weights()


def test_a_plain_vit_is_taken_when_asked_for():
    plain, model = LocAtViT(NANO, 24, 4, gaug=False), LocAtViT(NANO, 24, 4, gaug_init='paper')
    kept = model.layers[0].attn.gaug.log_var.weight.clone()
    model.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(model.layers[3].ffn.layers[1].weight, plain.layers[3].ffn.layers[1].weight)
    assert torch.equal(model.layers[0].attn.gaug.log_var.weight, kept)


def load(source, target):
    """Loads as MMEngine does: strict or not is its business, the hooks are ours."""
    target.load_state_dict(source if isinstance(source, dict) else source.state_dict(), strict=False)
    return target


def test_a_model_for_512_keeps_the_grid_of_pretraining():
    """The record of the source, its position embedding, and img_size, in this order."""
    source = LocAtViT(NANO, 24, 4)
    assert source.state_dict()._metadata['']['ref_grid'] == (6, 6)
    target = load(source, LocAtViT(NANO, 48, 4))
    assert target.kernel.ref_grid == (6, 6) and all(layer.attn.gaug.kernel is target.kernel for layer in target.layers)
    assert target.pos_embed.shape[1] == 1 + 144
    # A plain ViT records nothing: its position embedding speaks.
    target = load(LocAtViT(NANO, 24, 4, gaug=False), LocAtViT(NANO, 48, 4, gaug_init='paper'))
    assert target.kernel.ref_grid == (6, 6)
    # Its record is stronger than its own position embedding, which may have been resized.
    resized = load(source, LocAtViT(NANO, 48, 4))
    assert load(resized, LocAtViT(NANO, 36, 4)).kernel.ref_grid == (6, 6)
    # Neither: the config's.
    bare = {name: value for name, value in source.state_dict().items()}
    bare.pop('pos_embed')
    assert load(bare, LocAtViT(NANO, 48, 4, with_pos_embed=False)).kernel.ref_grid == (12, 12)


def test_an_explicit_reference_grid():
    source = LocAtViT(NANO, 24, 4)
    with pytest.raises(RuntimeError, match=r'pretrained on a grid of \(6, 6\), but ref_grid=\(7, 7\); leave'):
        load(source, LocAtViT(NANO, 24, 4, ref_grid=7))
    assert load(source, LocAtViT(NANO, 48, 4, ref_grid=6)).kernel.ref_grid == (6, 6)
    plain = LocAtViT(NANO, 24, 4, gaug=False)  # explicit wins over a position embedding
    assert load(plain, LocAtViT(NANO, 24, 4, ref_grid=9, gaug_init='paper')).kernel.ref_grid == (9, 9)


@pytest.mark.parametrize('wrapper', ['backbone.', 'module.backbone.', 'module.'])
def test_the_record_survives_wrappers_and_files(wrapper, tmp_path):
    source = LocAtViT(NANO, 24, 4, ref_grid=5)
    whole = torch.nn.Module()
    parent = whole
    for part in wrapper.split('.')[:-2]:
        parent.add_module(part, torch.nn.Module())
        parent = getattr(parent, part)
    parent.add_module(wrapper.split('.')[-2], source)
    torch.save(dict(state_dict=whole.state_dict()), tmp_path / 'x.pth')
    target = LocAtViT(NANO, 24, 4, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'x.pth')))
    target.init_weights()
    assert target.kernel.ref_grid == (5, 5)


def test_forward_with_the_replaced_kernel_is_that_of_the_source():
    source = LocAtViT(NANO, 24, 4).eval()
    target = load(source, LocAtViT(NANO, 32, 4)).eval()
    other = load(dict(source.state_dict(), pos_embed=target.pos_embed.detach()), LocAtViT(NANO, 32, 4, ref_grid=6))
    with torch.no_grad():
        images = torch.randn(1, 3, 32, 32)
        assert torch.equal(target(images)[0], other.eval()(images)[0])
        assert not torch.equal(target(images)[0], LocAtViT(NANO, 32, 4).eval()(images)[0])


def test_position_embeddings_that_are_not_square():
    source, target = LocAtViT(NANO, (24, 40), 4), LocAtViT(NANO, (24, 40), 4)
    with pytest.raises(ValueError, match='pos_embed of the checkpoint has 61 entries, which is not a square grid'):
        load(dict(source.state_dict()), LocAtViT(NANO, 24, 4))  # without the record of its grid
    assert torch.equal(load(source, target).pos_embed, source.pos_embed)
    expected = resize_position_embedding(source.pos_embed, (6, 10), (12, 12), 1)
    for weights, options in ((source, {}), (dict(source.state_dict()), dict(ref_grid=(6, 10)))):  # recorded, or given
        target = load(weights, LocAtViT(NANO, 48, 4, **options))
        assert torch.equal(target.pos_embed, expected) and target.ref_grid == (6, 10)
    plain = LocAtViT(NANO, (24, 40), 4, gaug=False).state_dict()  # which records no grid
    target = load(dict(plain), LocAtViT(NANO, 48, 4, gaug=False, ref_grid=(6, 10)))
    assert target.ref_grid is None
    assert torch.equal(target.pos_embed, resize_position_embedding(plain['pos_embed'], (6, 10), (12, 12), 1))


def test_one_log_block_says_what_happened(monkeypatch):
    from mmlocat.models.backbones import base
    blocks = []
    monkeypatch.setattr(base, 'print_log', lambda text, logger: blocks.append(text))
    state = {f'module.{name}': value for name, value in LocAtViT(NANO, 24, 4, gaug=False).state_dict().items()}
    state.update({'module.head.weight': torch.ones(3, 64), 'module.head.bias': torch.ones(3), 'module.fc_norm.weight':
                  torch.ones(64)})
    load(dict(model=state), LocAtViT(NANO, 48, 4, gaug_init='identity', final_norm=False))
    assert blocks == [
        "Weights of LocAtViT (MMPretrain names, under 'model'): 52 of 68 matched.\n"
        '  missing, as allow_partial or gaug_init permits, so they keep their first values: '
        'layers.0.attn.gaug.log_var.weight, layers.0.attn.gaug.log_var.bias, layers.0.attn.gaug.log_alpha.weight ... '
        '(16 in all)\n'
        '  resized: pos_embed from a grid of (6, 6) to (12, 12)\n'
        '  unused, without effect: ln1.weight, ln1.bias\n'
        '  not of the backbone, which does not matter: head, fc_norm\n'
        "  reference grid (6, 6), that of the checkpoint's position embedding, instead of (12, 12) from img_size"
    ]


@pytest.mark.parametrize('options', [{}, dict(gaug=False), dict(num_registers=2),
                                     dict(num_registers=2, no_embed_class=True)], ids=str)
def test_grids_with_equal_numbers_of_patches_are_told_apart(options):
    """2 x 8 and 8 x 2 patches: the record of the embedding tells which it is, also after it was resized once."""
    build = partial(LocAtViT, dict(NANO, num_layers=1), patch_size=4, out_type='featmap', **options)
    wide, images = build((8, 32)).eval(), torch.randn(1, 3, 32, 8)
    tall = load(wide, build((32, 8))).eval()
    assert (tall(images)[0] - wide(images)[0]).abs().max() < 1e-5
    assert not torch.equal(tall.pos_embed, wide.pos_embed)
    assert torch.equal(load(tall, build((32, 8))).pos_embed, tall.pos_embed)
    # Without a record, ref_grid tells.
    plain = load(dict(wide.state_dict()), build((32, 8), ref_grid=None if 'gaug' in options else (2, 8)))
    assert torch.equal(plain.pos_embed, wide.pos_embed if 'gaug' in options else tall.pos_embed)


def test_averaged_patches_have_a_norm_of_their_own():
    """MMPretrain's ``ln2``, behind the final norm: weights that lack it are refused by its name."""
    with pytest.raises(RuntimeError, match='lacks 2 of 72 weights of LocAtViT: ln2.weight, ln2.bias'):
        load(LocAtViT(NANO, 24, 4), LocAtViT(NANO, 24, 4, out_type='avg_featmap'))
    assert not hasattr(LocAtViT(NANO, 24, 4, out_type='avg_featmap', final_norm=False), 'ln1')


def test_initial_weights_are_checked_with_their_records(tmp_path):
    """3 x 8 patches are no square and not the grid of pretraining: only the record says what they are."""
    source = LocAtViT(NANO, (12, 32), 4, ref_grid=(2, 8))
    torch.save(source.state_dict(), tmp_path / 'x.pth')
    context = Context(TRAIN, initial=str(tmp_path / 'x.pth'), runner=SimpleNamespace(model=LocAtViT(NANO, 24, 4)))
    assert fit_weights(Config(dict(load_from=context.initial)), context) == []
    assert load(source, LocAtViT(NANO, 24, 4)).pos_embed.shape[1] == 1 + 36


@pytest.mark.parametrize(('change', 'message', 'options'), [
    (lambda s: s.update({'layers.4.ln1.weight': torch.ones(64)}), 'has 1 weights that this LocAtViT has no place for: '
     'layers.4.ln1.weight; check arch', {}),
    (lambda s: s.update({'reg_token': torch.ones(1, 4, 64)}), 'no place for: reg_token', {}),
    (lambda s: s.update({'layers.0.attn.gamma1.weight': torch.ones(64)}), 'no place for: layers.0.attn.gamma1', {}),
    (lambda s: s.pop('layers.2.attn.gaug.log_alpha.bias'), 'lacks 1 of 70 weights of LocAtViT: layers.2.attn.gaug.*'
     "gaug_init='identity'", {}),
    (lambda s: s.pop('layers.2.attn.gaug.log_alpha.bias'), 'has GAug weights in part: it lacks layers.2.attn.gaug.log_',
     dict(gaug_init='paper')),
    (lambda s: None, 'is of a LocAtViT with GAug, this model is a plain one; set gaug=True', dict(gaug=False)),
    (lambda s: s['ln1.weight'].fill_(float('nan')), '1 weights of the checkpoint hold NaN or infinity: ln1.weight', {}),
    (lambda s: s.pop('pos_embed'), 'lacks 1 of 70 weights of LocAtViT: pos_embed', {}),
    (lambda s: s.update(pos_embed=torch.ones(1, 37, 32)), r'has in another shape .* pos_embed \(1, 37, 32\)', {}),
])
def test_what_does_not_fit_is_an_error(change, message, options):
    state = dict(LocAtViT(NANO, 24, 4).state_dict())
    change(state)
    with pytest.raises(RuntimeError, match=message):
        load(state, LocAtViT(NANO, 24, 4, **options))


def test_a_whole_model_around_it():
    """Names of timm inside a segmentor's, and a checkpoint that has nothing for the backbone."""
    from mmlocat.checkpoints import to_timm_names
    source, whole = LocAtViT(NANO, 24, 4), torch.nn.Module()
    whole.backbone = LocAtViT(NANO, 24, 4)
    state = {f'backbone.{name}': value for name, value in to_timm_names(source.state_dict()).items()}
    whole.load_state_dict(state)
    assert torch.equal(whole.backbone.layers[3].ffn.layers[1].weight, source.layers[3].ffn.layers[1].weight)
    with pytest.raises(RuntimeError, match="has no entry under 'backbone.', where this model has its LocAtViT"):
        whole.load_state_dict(to_timm_names(source.state_dict()), strict=False)


@pytest.mark.parametrize('options', [dict(arch='tiny', img_size=64), dict(arch=NANO, img_size=24, patch_size=4)])
def test_identity_start_is_the_plain_model(options):
    """Within 1e-4, with weights that are larger than those of a fresh model, and a gradient for every weight."""
    plain = LocAtViT(gaug=False, out_type='raw', **options).eval()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.mul_(2.5) if 'qkv' in name else None
    model = load(plain, LocAtViT(gaug_init='identity', out_type='raw', **options)).eval()
    paper = load(plain, LocAtViT(gaug_init='paper', out_type='raw', **options)).eval()
    images = torch.randn(2, 3, 48, 64)
    expected = plain(images)[0]
    assert (model(images)[0] - expected).abs().max() < 1e-4
    assert (paper(images)[0] - expected).abs().max() > 1e-3
    model(images)[0].square().mean().backward()
    # A softmax does not see what all its entries share, so a constant bias of one layer may have no gradient by chance;
    # here none has.
    for name, parameter in model.named_parameters():
        if 'gaug' in name:
            assert parameter.grad.abs().max() > 0, name
    with pytest.raises(ValueError, match="gaug_init must be 'paper', 'identity' or None, got 'zero'"):
        LocAtViT(NANO, 24, 4, gaug_init='zero')
