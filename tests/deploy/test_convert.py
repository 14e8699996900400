"""tools/weights: golden weights through every layout and back, comparisons, and what is refused without a trace."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmlocat.checkpoints import CheckpointError, read_checkpoint, translate
from mmlocat.checkpoints.architecture import infer_arch
from mmlocat.deploy.convert import convert
from mmlocat.deploy.publish import publish
from mmlocat.models import LocAtViT, PatchRefinement
from mmlocat.utils import sha256
from tests.conftest import ROOT, assert_close, golden_names, load_golden
from tests.helpers.forked import run_python

PLAIN = dict(embed_dims=64, num_layers=2, num_heads=1, feedforward_channels=128)


def golden(name, folder):
    case = load_golden(name)
    weights = {key[len('weights/'):]: value for key, value in case.tensors.items() if key.startswith('weights/')}
    torch.save(dict(state_dict={f'module.{key}': value for key, value in weights.items()}, epoch=1),
               folder / 'source.pth.tar')
    return case, weights, str(folder / 'source.pth.tar')


def logits(file, case):
    """Runs image, backbone, PRR and head with the weights of a file."""
    state = translate(read_checkpoint(file).state_dict).state_dict
    head = {name.split('.')[-1]: state.pop(name) for name in list(state) if name.startswith('head.')}
    model = LocAtViT(out_type='raw', **infer_arch(state, num_heads=case.kwargs['num_heads'],
                                                  grid=read_checkpoint(file).ref_grid or (6, 6)))
    model.load_state_dict(state)
    with torch.no_grad():
        tokens = model.eval()(case.tensors['input_0'])[0]
        if case.kwargs.get('prr', True):
            tokens = PatchRefinement(case.kwargs['num_heads'], out_type='raw')(tokens)[0]
        return torch.nn.functional.linear(tokens[:, 0], head['weight'], head['bias'])


@pytest.mark.parametrize('name', golden_names('locatvit'))
def test_golden_weights_go_round(name, tmp_path):
    case, weights, source = golden(name, tmp_path)
    hops = [('mmlocat', 'a.pth'), ('timm', 'b.safetensors'), ('mmlocat', 'c.safetensors'), ('hub', 'hub'),
            ('timm', 'd.pth')]
    if 'rope' in name:  # the hub's config.json has no form for it that is known to us
        hops.remove(('hub', 'hub'))
        with pytest.raises(CheckpointError, match='--to hub .* rotary position embedding'):
            convert(source, tmp_path / 'hub', 'hub', num_heads=case.kwargs['num_heads'], ref_grid=(6, 6))
    for layout, target in hops:
        # Plain weights of 24 channels do not show their heads, weights without a position embedding not their grid.
        convert(source, tmp_path / target, layout, num_heads=case.kwargs['num_heads'], ref_grid=(6, 6), verify=True)
        source = str(tmp_path / target)
        assert_close(logits(source, case), case.tensors['logits_0'], 1e-5)
        state = read_checkpoint(source).state_dict
        assert read_checkpoint(source).ref_grid == (6, 6)
        if layout in ('timm', 'hub'):
            assert set(state) == set(weights)
            for key, value in weights.items():
                assert torch.equal(state[key], value) and state[key].dtype == value.dtype, key
    if 'rope' in name:
        return
    config = json.loads((tmp_path / 'hub' / 'config.json').read_text())
    for key, value in case.kwargs.items():
        if key not in ('prr', 'dynamic_img_size', 'dynamic_img_pad', 'store_metrics'):
            assert config[key] == value, key


def plain_file(folder, **options):
    torch.manual_seed(1)
    model = LocAtViT(PLAIN, 32, 8, gaug=False, **options)
    state = {f'backbone.{name}': value for name, value in model.state_dict().items()}
    state.update({'head.layers.head.weight': torch.randn(5, 64), 'head.layers.head.bias': torch.randn(5)})
    torch.save(dict(state_dict=state, meta=dict(epoch=3), optimizer=dict(lr=1)), folder / 'plain.pth')
    return str(folder / 'plain.pth'), state


@pytest.mark.parametrize(('layout', 'reader'), [('mmpretrain', "MMPretrain's VisionTransformer"),
                                                ('timm', "timm's VisionTransformer")])
@pytest.mark.parametrize('options', [{}, dict(pre_norm=True), dict(layer_scale_init_value=0.1)])
def test_verify_runs_the_models_of_others(layout, reader, options, tmp_path):
    source, _ = plain_file(tmp_path, **options)
    found = convert(source, tmp_path / 'x.pth', layout, num_heads=1, verify=True).difference
    assert found.shape == (1, 3, 32, 32) and found.reader == reader and found.largest < 1e-5 and found.scale > 1


def test_verify_finds_a_wrong_bit(tmp_path, monkeypatch):
    from mmlocat.deploy import convert as module
    source, _ = plain_file(tmp_path)
    original = module._write

    def wrong(path, tensors, record):
        tensors = {name: value.clone() for name, value in tensors.items()}
        tensors['backbone.layers.1.ffn.layers.1.bias'][3] += 0.01
        original(path, tensors, record)

    monkeypatch.setattr(module, '_write', wrong)
    before = set(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match=r'reading it back differs by .* \(1, 3, 32, 32\) .* nothing was written'):
        convert(source, tmp_path / 'x.pth', 'mmlocat', num_heads=1, verify=True)
    assert set(tmp_path.iterdir()) == before


def test_the_record_and_the_dtype(tmp_path):
    source, state = plain_file(tmp_path)
    half = {name: value.half() for name, value in state.items()}
    torch.save(half, tmp_path / 'half.pth')
    convert(str(tmp_path / 'half.pth'), tmp_path / 'x.safetensors', 'mmlocat', num_heads=1)
    written = read_checkpoint(tmp_path / 'x.safetensors')
    assert {value.dtype for value in written.state_dict.values()} == {torch.float16}
    record = written.meta['mmlocat']
    assert record['source'] == 'half.pth' and record['source_sha256'] == sha256(tmp_path / 'half.pth')
    assert record['layout'] == 'mmlocat' and record['ref_grid'] == [4, 4] and record['version']


def refused(change, message, **options):
    return pytest.param(change, message, options, id=message[:40])


@pytest.mark.parametrize(('change', 'message', 'options'), [
    refused(lambda s: s.update({'text.proj': torch.ones(1)}), 'neither of the backbone nor of a head: text.proj'),
    *[refused(lambda s: s.update({'decode_head.conv_seg.weight': torch.ones(1)}),
              f'is of a segmentor, and {layout} has no place .*--to mmlocat', layout=layout)
      for layout in ('mmpretrain', 'timm')],
    refused(lambda s: s.update({'backbone.layers.0.attn.gaug.log_var.weight': torch.ones(2, 64)}), 'has GAug weights',
            layout='mmpretrain'),
    refused(lambda s: s.update({'backbone.reg_token': torch.ones(1, 4, 64)}), 'is no square grid and 5 prefix entries'),
    refused(lambda s: s.pop('backbone.pos_embed'), 'give --ref-grid H W .*; they have no position embedding$'),
    refused(lambda s: s.pop('backbone.layers.0.attn.qkv.weight'), 'these are no weights of a plain ViT'),
    refused(lambda s: s.pop('backbone.patch_embed.projection.weight'), 'these are no weights of a plain ViT'),
    refused(lambda s: None, 'do not show how many heads attention has; give --num-heads', num_heads=None),
    refused(lambda s: None, 'and 7 do not divide them', num_heads=7),
    refused(lambda s: s.update({'backbone.layers.0.attn.gaug.log_var.weight': torch.ones(2, 64)}),
            'have 1 heads, not 2; leave --num-heads out', num_heads=2),
    refused(lambda s: None, r'must end in \.safetensors, \.pth, \.pt', target='x.onnx'),
    refused(lambda s: None, 'exists; for the hub layout give a folder', layout='hub', target='plain.pth'),
    refused(lambda s: None, 'is the source itself', target='plain.pth'),
    refused(lambda s: None, 'unknown layout', layout='keras'),
])
def test_doubts_are_errors_and_leave_nothing(change, message, options, tmp_path):
    source, state = plain_file(tmp_path)
    change(state)
    torch.save(dict(state_dict=state), source)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    layout, target = options.pop('layout', 'mmlocat'), tmp_path / options.pop('target', 'x.pth')
    with pytest.raises((CheckpointError, ValueError), match=message):
        convert(source, target, layout, **{'num_heads': 1, **options})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_hub_config_has_no_word_for_two_grids(tmp_path):
    model = LocAtViT(PLAIN, 32, 8, ref_grid=2)
    torch.save(model.state_dict(), tmp_path / 'x.pth')
    assert read_checkpoint(tmp_path / 'x.pth').ref_grid == (2, 2)
    with pytest.raises(CheckpointError, match=r'reference grid of \(2, 2\) and a position embedding of \(4, 4\)'):
        convert(str(tmp_path / 'x.pth'), tmp_path / 'hub', 'hub')
    with pytest.raises(CheckpointError, match=r'records a reference grid of \(2, 2\), --ref-grid says \(4, 4\)'):
        convert(str(tmp_path / 'x.pth'), tmp_path / 'y.pth', 'timm', ref_grid=(4, 4))
    convert(str(tmp_path / 'x.pth'), tmp_path / 'y.pth', 'timm')
    back = LocAtViT(PLAIN, 64, 8)
    back.load_state_dict(read_checkpoint(tmp_path / 'y.pth').state_dict)
    assert back.kernel.ref_grid == back.layers[1].attn.gaug.kernel.ref_grid == (2, 2)


def test_backbone_only_and_the_command_line(tmp_path):
    source, state = plain_file(tmp_path)

    def run(*args):
        return run_python(ROOT / 'tools' / 'weights' / 'convert.py', *args, cwd=tmp_path)

    result = run(source, 'x.safetensors', '--to', 'timm', '--num-heads', '1', '--verify', '--backbone-only')
    assert result.returncode == 0, result.stderr
    assert 'backbone' in result.stdout and 'differs by at most' in result.stdout
    assert 'head.weight' not in read_checkpoint(tmp_path / 'x.safetensors').state_dict
    result = run(source, 'y.pth', '--to', 'mmlocat')
    assert result.returncode == 1 and result.stdout == '' and 'give --num-heads' in result.stderr
    assert result.stderr.startswith('Error: ') and 'Traceback' not in result.stderr and not Path('y.pth').exists()


def test_publish_strips_and_names_by_hash(tmp_path):
    source, state = plain_file(tmp_path)
    path, left_out = publish(source, tmp_path / 'model.pth')
    assert path.name == f'model-{sha256(path)[:8]}.pth'
    assert left_out == ('optimizer', )
    published = torch.load(path, weights_only=True)
    assert set(published) == {'meta', 'state_dict'} and published['meta'] == dict(epoch=3)
    assert all(torch.equal(published['state_dict'][name], value) for name, value in state.items())
    again, _ = publish(str(path), tmp_path / path.name)
    assert again == path  # one hash in the name, and the same
    with pytest.raises(ValueError, match=r'must end in \.pth'):
        publish(source, tmp_path / 'x.safetensors')
    save_file({'a': torch.ones(1)}, str(tmp_path / 'bare.safetensors'))
    torch.save(dict(model=dict(a=torch.ones(1))), tmp_path / 'deit.pth')
    with pytest.raises(CheckpointError, match="has its weights under 'model'"):
        publish(str(tmp_path / 'deit.pth'), tmp_path / 'x.pth')
