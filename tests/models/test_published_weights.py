"""Published weights, bare under timm's names, as a whole model: backbone, neck and head, wherever they are given."""

import json
from collections import OrderedDict

import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from safetensors.torch import save_file

import mmlocat.models
from mmlocat.attention import create_model
from mmlocat.attention.vit import VisionTransformer
from mmlocat.checkpoints import CheckpointError, sources, to_timm_names
from mmlocat.config import load_config
from mmlocat.models.building import build_model, load_model
from mmlocat.training.cli import test_job as make_test_job
from tests.conftest import ROOT

NAME = 'locatvit-nano_digitscenes'
CONFIG = str(ROOT / 'configs' / f'{NAME}.py')
SEGMENTOR = ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py'


@pytest.fixture(scope='module')
def hub(tmp_path_factory):
    """A miniature of what is published, as a folder of the hub; and the model that it is of."""
    torch.manual_seed(3)
    model = VisionTransformer(64, 4, 2, num_classes=10, img_size=24, patch_size=4).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp('hub') / 'locatvit_nano'
    folder.mkdir()
    weights = to_timm_names(dict(model.state_dict()))
    assert {'blocks.0.attn.gaug.log_var.weight', 'head.weight'} < weights.keys()
    save_file(weights, str(folder / 'model.safetensors'))
    (folder / 'config.json').write_text(json.dumps(dict(img_size=24, patch_size=4)))
    torch.save(dict(state_dict={f'module.{name}': value for name, value in weights.items()}), folder / 'x.pth.tar')
    return folder, model


@pytest.fixture
def online(hub, monkeypatch):
    """The hub gives this folder's files."""
    monkeypatch.setattr(sources, '_fetch', lambda source, repo, revision, file: hub[0] / file)


SOURCES = ['hf://sinahmr/locatvit_nano', '{}', '{}/model.safetensors', '{}/x.pth.tar']


@pytest.mark.parametrize('source', SOURCES)
@torch.no_grad()
def test_mmpretrain_by_name(source, hub, online, monkeypatch):
    """As in a user's own process: MMEngine loads it, the report names the head, classes have their names."""
    folder, model = hub
    said, images = [], torch.randn(2, 3, 28, 24)
    monkeypatch.setattr('mmlocat.models.backbones.base.print_log', lambda text, logger: said.append(text))
    found = mmpretrain.get_model(NAME, pretrained=source.format(folder))
    torch.testing.assert_close(found(images), model(images), rtol=0, atol=1e-5)
    assert any('with its head: head.layers.head.bias, head.layers.head.weight.' in text for text in said)
    assert any(text.startswith('Weights of LocAtViT') and '70 of 70 matched' in text for text in said)
    with DefaultScope.overwrite_default_scope('mmpretrain'):  # an earlier test may have left another
        inferencer = mmpretrain.ImageClassificationInferencer(found)
        result = inferencer(np.zeros((24, 24, 3), np.uint8))[0]
    assert result['pred_class'] in found._dataset_meta['classes']


@pytest.mark.parametrize('source', SOURCES)
@torch.no_grad()
def test_our_tools(source, hub, online):
    """``load_model``, by which export, pictures and the page load; classes are named by the config's data set."""
    folder, model = hub
    images = torch.randn(2, 3, 24, 36)
    found = load_model(CONFIG, source.format(folder))
    torch.testing.assert_close(found(images), model(images), rtol=0, atol=1e-5)
    assert len(found.dataset_meta['classes']) == 10


@pytest.mark.parametrize('wrapper', ['module.', '_orig_mod.', 'module._orig_mod.'])
def test_wrappers_around_a_whole_model(wrapper, tmp_path, monkeypatch):
    """By our own function, by MMEngine's and on PyTorch alone: head, backbone and grid are those that were saved.

    MMEngine gives the parts of a whole model no record of the grid.
    """
    said = []
    monkeypatch.setattr('mmlocat.models.backbones.base.print_log', lambda text, logger: said.append(text))
    source = build_model(load_config(CONFIG))
    source.backbone.replace_kernel((5, 5))
    state = source.state_dict()
    weights = OrderedDict((wrapper + name, value) for name, value in state.items())
    weights._metadata = OrderedDict((f'{wrapper}{name}'.strip('.'), value) for name, value in state._metadata.items())
    path = str(tmp_path / 'wrapped.pth')
    torch.save(dict(state_dict=weights), path)
    by_mmengine = build_model(load_config(CONFIG))
    load_checkpoint(by_mmengine, path)
    for found in (load_model(CONFIG, path), by_mmengine):
        assert all(torch.equal(value, state[name]) for name, value in found.state_dict().items())
        assert found is by_mmengine or found.backbone.ref_grid == (5, 5)
    assert said and not any('bare' in text for text in said)
    alone = create_model('locatvit_tiny', path, embed_dims=64, num_layers=4, num_heads=2, img_size=24, patch_size=4)
    assert torch.equal(alone.head.weight, state['head.layers.head.weight'])
    segmentor = build_model(load_config(str(SEGMENTOR)))
    torch.save({wrapper + name: value for name, value in segmentor.state_dict().items()}, path)
    found = load_model(SEGMENTOR, path).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in segmentor.state_dict().items())


def test_a_test_of_it(hub, digit_scenes, tmp_path):
    """``tools/test.py CONFIG FOLDER``: the same accuracy as the model that the weights are of."""
    folder, model = hub
    job = [CONFIG, str(folder), '--work-dir', str(tmp_path), '--cfg-options',
           f'test_dataloader.dataset.data_root={digit_scenes}']
    accuracy = make_test_job(job)()['accuracy/top1']
    config = load_config(CONFIG)
    whole = build_model(config)
    whole.load_state_dict(to_timm_names(dict(model.state_dict())))
    path = tmp_path / 'whole.pth'
    torch.save(dict(state_dict=whole.state_dict()), path)
    job[1] = str(path)
    assert make_test_job(job)()['accuracy/top1'] == accuracy


def test_what_does_not_fit_is_refused(hub, tmp_path):
    folder, model = hub
    weights = to_timm_names(dict(model.state_dict()))
    torch.save({name: value for name, value in weights.items() if 'head' not in name}, tmp_path / 'bare.pth')
    with pytest.raises(RuntimeError, match=r'bare.pth does not fit .*2 weights are missing.*head.layers.head.weight'):
        load_model(CONFIG, tmp_path / 'bare.pth')
    with pytest.raises((RuntimeError, CheckpointError), match='does not fit the model of this config'):
        load_model(ROOT / 'configs' / 'locatvit-tiny_imagenet.py', folder)


@pytest.mark.parametrize(('kind', 'names', 'expected'), [
    ('LocAtJumbo', ('head.weight', 'jumbo_mlp.fc1.weight', 'norm.weight'),
     ('head.layers.head.weight', 'backbone.jumbo_mlp.fc1.weight', 'backbone.ln1.weight')),
    ('LocAtSwin', ('head.fc.weight', 'layers.0.blocks.0.attn.qkv.weight', 'norm.weight'),
     ('head.fc.weight', 'backbone.layers.0.blocks.0.attn.qkv.weight', 'backbone.norm.weight'))])
def test_siblings_know_the_heads_of_their_classifiers(kind, names, expected):
    arch = dict(embed_dims=16, depths=(1, 1), num_heads=(1, 2)) if kind == 'LocAtSwin' else dict(
        embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
    backbone = getattr(mmlocat.models, kind)(arch, img_size=24)
    found = backbone.in_classifier({**dict.fromkeys(names, torch.ones(1)), 'blocks.0.norm1.weight': torch.ones(1)}
                                   if kind == 'LocAtJumbo' else dict.fromkeys(names, torch.ones(1)))
    assert set(expected) <= set(found)
