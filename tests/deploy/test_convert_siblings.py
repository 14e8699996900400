"""Weights of RoPE, Jumbo and Swin through every layout and back, and what a layout cannot hold."""

import pytest
import torch

import mmlocat.models
from mmlocat.checkpoints import CheckpointError, read_checkpoint
from mmlocat.checkpoints.architecture import infer_arch
from mmlocat.checkpoints.kinds import translate_any
from mmlocat.checkpoints.swin_names import to_openmmlab, to_original
from mmlocat.deploy.convert import convert
from tests.conftest import ROOT, assert_close, load_golden
from tests.deploy.test_convert import golden
from tests.helpers.forked import run_python


def options_of(name):
    """Returns what the weights of a golden case do not show."""
    return {} if 'swin' in name else dict(num_heads=load_golden(name).kwargs['num_heads'], ref_grid=(6, 6))


def published_tokens(file, case, kind, **options):
    state = {name: value for name, value in translate_any(read_checkpoint(file).state_dict)[1].state_dict.items()
             if not name.startswith('head.')}
    arguments = {**infer_arch(state, **options), 'img_size': case.kwargs['img_size']}
    model = getattr(mmlocat.models, kind)(out_type='raw', **arguments)
    model.load_state_dict(state)
    with torch.no_grad():
        return model.eval()(case.tensors['input_0'])[-1]


@pytest.mark.parametrize(('name', 'kind'), [
    ('jumbo', 'LocAtJumbo'), ('locatjumbo', 'LocAtJumbo'), ('locatjumbo_j6', 'LocAtJumbo'),
    ('swin_window4', 'LocAtSwin'), ('locatswin_window7', 'LocAtSwin'), ('locatswin_window4', 'LocAtSwin'),
    ('vit_rope_mixed', 'LocAtViT')])
def test_golden_weights_of_siblings_go_round(name, kind, tmp_path):
    case, weights, source = golden(name, tmp_path)
    options = options_of(name)
    for layout in ('mmlocat', *['mmpretrain'] * (name == 'swin_window4'), 'timm'):
        result = convert(source, tmp_path / f'{layout}.safetensors', layout, verify=True, **options)
        source = str(tmp_path / f'{layout}.safetensors')
        own = layout == 'mmlocat' or kind == 'LocAtJumbo' or result.arguments['gaug'] or 'rope' in name
        assert result.kind == kind and (f'{kind}, reading it back' == result.difference.reader) == own
        assert result.difference.scale > 1
    state = read_checkpoint(source).state_dict
    assert set(state) == set(weights) and all(torch.equal(state[key], value) for key, value in weights.items())
    grid = options.get('ref_grid')
    tokens = published_tokens(source, case, kind, num_heads=options.get('num_heads'), grid=grid)
    assert_close(tokens, case.tensors['tokens_0'].reshape(tokens.shape), 1e-5)
    written = read_checkpoint(tmp_path / 'mmlocat.safetensors')
    assert written.ref_grid == (grid or (case.kwargs['window_size'], ) * 2)
    head = getattr(mmlocat.models, kind).classifier_head
    heads = {key for key in written.state_dict if not key.startswith('backbone.')}
    assert heads == {f'{head}weight', f'{head}bias'}
    assert not any('layers.0.jumbo_mlp' in key for key in written.state_dict)  # once, as in memory


def test_swins_of_the_original_repository_are_converted(tmp_path):
    _, weights, _ = golden('swin_window4', tmp_path)
    theirs = {name.replace('head.fc.', 'head.'): value for name, value in to_original(weights).items()}
    torch.save(dict(model={**theirs, 'layers.0.blocks.1.attn_mask': torch.zeros(4, 16, 16)}), tmp_path / 'x.pth')
    assert convert(str(tmp_path / 'x.pth'), tmp_path / 'y.pth', 'timm').source.format == 'Swin Transformer'
    state = read_checkpoint(tmp_path / 'y.pth').state_dict
    assert set(state) == set(weights) and all(torch.equal(state[key], value) for key, value in weights.items())


def several_windows(weights):
    for name in [name for name in weights if name.endswith('layers.1.blocks.0.attn.relative_position_bias_table')]:
        weights[name] = weights[name][:9]


@pytest.mark.parametrize(('name', 'layout', 'change', 'options', 'message'), [
    ('jumbo', 'mmpretrain', None, {}, "has Jumbo's class tokens, for which MMPretrain's VisionTransformer"),
    ('vit_rope_mixed', 'mmpretrain', None, {}, 'has rotary frequencies, for which'),
    ('locatswin_window7', 'mmpretrain', None, {}, "has GAug weights, for which MMPretrain's SwinTransformer has no"),
    ('swin_window4', 'mmpretrain', several_windows, {}, 'has windows of several sizes, for which'),
    ('swin_window4', 'mmpretrain', lambda s: [s.pop(f'norm.{part}') for part in ('weight', 'bias')], {},
     'has no final norm, for which'),
    ('locatjumbo', 'hub', None, {}, 'source.pth.tar: --to hub has no config.json for LocAtJumbo; use --to timm'),
    ('swin_window4', 'hub', None, {}, '--to hub has no config.json for LocAtSwin; use --to timm'),
    ('swin_window4', 'timm', None, dict(num_heads=2), r'show their heads, \(1, 2\); leave --num-heads out'),
    ('swin_window4', 'timm', None, dict(ref_grid=(16, 16)), r'windows of \(4, 4\), --ref-grid says \(16, 16\)'),
    ('swin_window4', 'timm', lambda s: s.pop('patch_embed.proj.weight'), {}, 'no weights of a whole Swin'),
    ('jumbo', 'timm', lambda s: s.pop('cls_token'), {}, 'these are no weights of a plain ViT: '),
    ('jumbo', 'timm', lambda s: s.update({'blocks.1.jumbo_mlp.fc1.bias': torch.ones(192)}), {},
     'several jumbo_mlp.fc1.bias, which are not equal'),
    ('swin_window4', 'mmlocat', lambda s: s.update({'layers.0.blocks.0.attn.relative_position_bias_table':
                                                    torch.ones(63, 1)}), {}, 'are not those of square windows'),
])
def test_siblings_are_refused_where_a_layout_cannot_hold_them(name, layout, change, options, message, tmp_path):
    _, weights, source = golden(name, tmp_path)
    if change:
        change(weights)
        torch.save(weights, source)
    with pytest.raises(CheckpointError, match=message) as error:
        convert(source, tmp_path / ('x' if layout == 'hub' else 'x.pth'), layout, **{**options_of(name), **options})
    assert '\n' not in str(error.value) and {path.name for path in tmp_path.iterdir()} == {'source.pth.tar'}


def test_norms_of_several_outputs_go_with_the_heads(tmp_path):
    _, weights, _ = golden('swin_window4', tmp_path)
    backbone = {name: value for name, value in weights.items() if not name.startswith('head.')}
    theirs = {f'backbone.{name}': value for name, value in to_openmmlab(backbone).items()}
    theirs.update({'backbone.norm0.weight': torch.ones(8), 'decode_head.conv_seg.bias': torch.ones(2)})
    torch.save(dict(state_dict=theirs), tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match=r'norms of several outputs \(norm0.weight, ...\), .*--backbone-only'):
        convert(str(tmp_path / 'x.pth'), tmp_path / 'y.pth', 'mmlocat')
    result = convert(str(tmp_path / 'x.pth'), tmp_path / 'y.pth', 'timm', backbone_only=True)
    assert result.source.format == 'OpenMMLab'
    state = read_checkpoint(tmp_path / 'y.pth').state_dict
    assert set(state) == set(backbone) and all(torch.equal(state[key], value) for key, value in backbone.items())


def test_the_command_line_tells_stages_and_windows(tmp_path):
    _, _, source = golden('locatswin_window4', tmp_path)
    result = run_python(ROOT / 'tools' / 'weights' / 'convert.py', source, 'x.pth', '--to', 'timm', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert ('LocAtSwin: (2, 2, 2, 2) blocks of 8 channels, (1, 2, 2, 4) heads, GAug: yes, windows of (4, 4)'
            in result.stdout)
