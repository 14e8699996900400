"""One function makes a model from config and weights: it opens the file once, builds once, and refuses what misfits."""

import pytest
import torch
from mmengine.config import Config
from mmengine.config.lazy import LazyObject
from mmseg.datasets import ADE20KDataset

from mmlocat.checkpoints import reader
from mmlocat.config import load_config
from mmlocat.models.building import MODELS, build_model, check_weights, dataset_metainfo, input_shape, load_model
from tests.conftest import ROOT

SEGMENTOR = ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py'
OTHER = ROOT / 'configs' / 'vit-nano_linear_digitscenes.py'


@pytest.fixture
def saved(tmp_path):
    model = build_model(load_config(str(SEGMENTOR)))
    meta = dict(dataset_meta=dict(classes=['a', 'b']))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'model.pth')
    return tmp_path / 'model.pth', model


def test_a_model_has_the_weights_and_what_the_checkpoint_says(saved):
    path, source = saved
    model = load_model(SEGMENTOR, path)
    assert not model.training and model.dataset_meta == dict(classes=['a', 'b'])
    assert model.cfg.model.backbone.type == 'LocAtViT' and 'dataset_meta' in model.checkpoint_meta
    own, expected = model.state_dict(), source.state_dict()
    assert own.keys() == expected.keys() and all(torch.equal(own[name], expected[name]) for name in own)


def test_it_opens_the_file_once_and_builds_once(saved, monkeypatch):
    opened, built = [], []
    load, build = reader.load_pickle, MODELS.build
    monkeypatch.setattr(reader, 'load_pickle', lambda *args: opened.append(args) or load(*args))
    monkeypatch.setattr(MODELS, 'build', lambda *args, **kwargs: built.append(args) or build(*args, **kwargs))
    load_model(load_config(str(SEGMENTOR)), saved[0])
    assert len(opened) == 1
    assert len([args for args in built if args[0].get('type') == 'EncoderDecoder']) == 1


def test_weights_of_another_model_are_refused(saved):
    with pytest.raises(RuntimeError, match='of this config: 16 weights are in the checkpoint alone'):
        load_model(OTHER, saved[0])
    with pytest.raises(FileNotFoundError, match='gone.pth'):
        load_model(SEGMENTOR, 'gone.pth')
    model, state = saved[1], dict(saved[1].state_dict())
    del state['decode_head.conv_seg.weight']
    with pytest.raises(RuntimeError, match='FILE does not fit .*: 1 weights are missing .*conv_seg.weight'):
        check_weights(model, state, 'FILE')


@pytest.mark.parametrize('kind', ['mmseg.ADE20KDataset', ADE20KDataset, LazyObject('mmseg.datasets', 'ADE20KDataset')])
def test_the_data_set_says_its_classes_however_it_is_named(kind):
    """By a name, by its class, by an object of MMEngine's new configs; settings override what the class says."""
    config = Config(dict(test_dataloader=dict(dataset=dict(type='x', metainfo=dict(palette=[[0, 0, 0]])))))
    config.test_dataloader.dataset.type = kind
    found = dataset_metainfo(config)
    assert found['classes'] == ADE20KDataset.METAINFO['classes'] and found['palette'] == [[0, 0, 0]]
    assert dataset_metainfo(Config(dict(test_dataloader=None))) == {}


@pytest.mark.parametrize('wrap', [
    lambda inner: dict(type='RepeatDataset', times=1, dataset=inner),
    lambda inner: dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', times=1, dataset=inner), inner]),
], ids=['RepeatDataset', 'ConcatDataset'])
def test_a_data_set_inside_wrappers_says_its_classes(wrap):
    config = load_config(str(SEGMENTOR))
    expected = build_model(config, 'meta').dataset_meta
    config.test_dataloader.dataset = wrap(config.test_dataloader.dataset)
    assert len(expected['classes']) == 11 and build_model(config, 'meta').dataset_meta == expected


def test_random_weights_are_random_whatever_the_config_loads(saved):
    config, (path, source) = load_config(str(SEGMENTOR)), saved
    drawn, loading = dict(type='Constant', val=0.5, layer='Linear'), dict(type='Pretrained', checkpoint=str(path))
    for given, left in ((loading, None), ([drawn, loading], [drawn]), (drawn, [drawn])):
        config.model.init_cfg = given
        model = load_model(config, None)
        assert model.init_cfg == left and config.model.init_cfg == given
        assert not torch.equal(model.decode_head.conv_seg.weight, source.decode_head.conv_seg.weight)


def test_shapes_need_no_memory():
    config = load_config(str(SEGMENTOR))
    assert all(parameter.is_meta for parameter in build_model(config, 'meta').parameters())
    assert input_shape(config) == (36, 36)
