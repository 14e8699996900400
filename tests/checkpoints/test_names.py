"""Names: every family's to ours and ours to timm's, over random architectures, wrappers and nests."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlocat.checkpoints import detect_format, to_mmlocat_names, to_timm_names, translate
from mmlocat.models import LocAtViT

ARCHS = st.fixed_dictionaries(dict(
    heads=st.integers(1, 3), head_dims=st.sampled_from([4, 8]), layers=st.integers(1, 3), ratio=st.integers(1, 4),
    gaug=st.booleans(), num_registers=st.integers(0, 4), with_pos_embed=st.booleans(), no_embed_class=st.booleans(),
    qkv_bias=st.booleans(), layer_scale_init_value=st.sampled_from([0., 1e-5]), pre_norm=st.booleans()))


def build(heads, head_dims, layers, ratio, **options):
    dims = heads * head_dims
    arch = dict(embed_dims=dims, num_layers=layers, num_heads=heads, feedforward_channels=ratio * dims)
    return LocAtViT(arch, 12, 4, **options)


@settings(max_examples=30, deadline=None)
@given(ARCHS, st.lists(st.sampled_from(['module.', '_orig_mod.', 'backbone.']), max_size=3),
       st.lists(st.sampled_from(['state_dict', 'model', 'teacher', 'state_dict_ema']), max_size=2),
       st.booleans())
def test_any_names_nests_and_wrappers_load_bit_for_bit(arch, wrappers, nests, timm):
    source, target = build(**arch), build(**arch)
    state = source.state_dict()
    names = to_timm_names(state) if timm else state
    assert detect_format(list(names)) == ('timm' if timm else 'MMPretrain')
    checkpoint = {''.join(wrappers) + name: value for name, value in names.items()}
    for nest in nests:
        checkpoint = {nest: checkpoint}
    translated = translate(checkpoint)
    assert translated.nesting == '.'.join(reversed(nests)) and len(translated.state_dict) == len(state)
    target.load_state_dict(checkpoint)
    for name, value in state.items():
        assert torch.equal(target.state_dict()[name], value), name


@settings(max_examples=20, deadline=None)
@given(ARCHS)
def test_timm_and_back_is_the_identity(arch):
    state = build(**arch).state_dict()
    back = to_mmlocat_names(to_timm_names(state))
    assert list(back) == list(state) and all(back[name] is state[name] for name in state)


def in_clip(state):
    """Our weights under CLIP's names and in its shapes, with a text tower beside."""
    names = {'patch_embed.projection.weight': 'conv1.weight', 'cls_token': 'class_embedding',
             'pos_embed': 'positional_embedding'}
    parts = (('pre_norm.', 'ln_pre.'), ('ln1.', 'ln_post.'))
    blocks = (('attn.qkv.', 'attn.in_proj_'), ('attn.proj.', 'attn.out_proj.'), ('ffn.layers.0.0.', 'mlp.c_fc.'),
              ('ffn.layers.1.', 'mlp.c_proj.'), ('ln1.', 'ln_1.'), ('ln2.', 'ln_2.'))
    renamed = {}
    for name, value in state.items():
        if name.startswith('layers.'):
            _, number, rest = name.split('.', 2)
            for ours, theirs in blocks:
                rest = rest.replace(ours, theirs)
            new = f'transformer.resblocks.{number}.{rest}'
        else:
            new = names.get(name, name)
            for ours, theirs in parts:
                new = theirs + new[len(ours):] if new.startswith(ours) else new
        value = value.reshape(-1) if name == 'cls_token' else value[0] if name == 'pos_embed' else value
        renamed['visual.' + new] = value
    text = {'transformer.resblocks.0.attn.in_proj_weight': torch.zeros(3, 3), 'positional_embedding': torch.zeros(7, 3),
            'ln_final.weight': torch.zeros(3), 'logit_scale': torch.zeros(())}
    return {**text, **renamed}


def plain(**options):
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
    return LocAtViT(arch, 12, 4, gaug=False, **options)


@pytest.mark.parametrize(('disguise', 'options', 'name'), [
    (in_clip, dict(pre_norm=True, patch_cfg=dict(bias=False)), 'CLIP'),
    (lambda state: {name.replace('attn.qkv.', 'attn.attn.in_proj_').replace('attn.proj.', 'attn.attn.out_proj.'): value
                    for name, value in state.items()}, {}, 'MMSegmentation ViT'),
])
def test_other_families(disguise, options, name):
    source, target = plain(**options), plain(**options)
    disguised = disguise(source.state_dict())
    assert not set(disguised) & {'layers.0.attn.qkv.weight', 'layers.1.attn.proj.weight'}
    assert detect_format(list(disguised)) == name
    target.load_state_dict(disguised, strict=False)
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


def test_split_qkv_of_timm_like_names():
    source, target = plain(), plain()
    state = {}
    for name, value in to_timm_names(source.state_dict()).items():
        if '.qkv.' in name:
            for part, piece in zip('qkv', value.chunk(3)):
                if not (part == 'k' and name.endswith('bias')):  # as in models whose keys have no bias
                    state[name.replace('qkv', f'{part}_proj')] = piece
        else:
            state[name] = value
    target.load_state_dict(state)
    dims = 16
    for name, value in source.state_dict().items():
        expected = value.clone()
        if name.endswith('qkv.bias'):
            expected[dims:2 * dims] = 0
        assert torch.equal(target.state_dict()[name], expected), name
    del state['blocks.0.attn.k_proj.weight']
    with pytest.raises(ValueError, match='has of layers.0.attn.qkv.weight the parts q, v of q, k, v alone'):
        translate(state)


def test_two_names_for_one_weight():
    with pytest.raises(ValueError, match='two entries of the state dict would be called cls_token'):
        to_mmlocat_names({'cls_token': 1, 'module.cls_token': 2, 'blocks.0.norm1.weight': 3})
