"""A type is seen alike in every form that a config may give it: first weights, metrics, data sets, schedules."""

import importlib.util
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.config.lazy import LazyObject
from mmengine.model import PretrainedInit
from mmengine.optim import OneCycleLR
from mmseg.datasets import ADE20KDataset
from mmseg.evaluation import IoUMetric

from mmlocat.datasets.check import check_data
from mmlocat.models import LocAtViT
from mmlocat.training.config_values import check_values
from mmlocat.training.context import Context
from mmlocat.training.initial_weights import initial_checkpoint
from mmlocat.visualization.segmentor import _dataset_meta
from tests.conftest import ROOT

DATASET = ['ADE20KDataset', 'mmseg.ADE20KDataset', ADE20KDataset, LazyObject('mmseg.datasets', 'ADE20KDataset')]
PRETRAINED = ['Pretrained', 'mmengine.Pretrained', PretrainedInit, LazyObject('mmengine.model', 'PretrainedInit')]


@pytest.mark.parametrize('kind', PRETRAINED, ids=str)
def test_the_first_weights_are_found(kind):
    init = [dict(type='Constant', layer='Linear'), dict(type=kind, checkpoint='FILE')]
    assert initial_checkpoint(Config(dict(model=dict(backbone=dict(init_cfg=init))))) == 'FILE'
    assert initial_checkpoint(Config(dict(model=dict(backbone=dict(init_cfg=init[:1]))))) is None


@pytest.mark.parametrize('kind', ['IoUMetric', 'mmseg.IoUMetric', IoUMetric,
                                  LazyObject('mmseg.evaluation', 'IoUMetric')], ids=str)
def test_the_metric_that_writes_label_maps_is_found(kind):
    spec = importlib.util.spec_from_file_location('test_tool', ROOT / 'tools' / 'test.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    args = SimpleNamespace(checkpoint='FILE', show=False, show_dir=None, tta=False, out='OUT', config='CONFIG')
    config = Config(dict(default_scope='mmseg', test_evaluator=[dict(type='DumpResults'), dict(type=kind)]))
    tool.merge_args(config, args, True)
    assert [evaluator.get('output_dir') for evaluator in config.test_evaluator] == [None, 'OUT']
    config.test_evaluator = dict(type='DumpResults')
    with pytest.raises(ValueError, match='--out needs an IoUMetric'):
        tool.merge_args(config, args, True)


@pytest.mark.parametrize('kind', PRETRAINED, ids=str)
def test_a_backbone_with_weights_draws_none(kind):
    arch = dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=8)
    model = LocAtViT(arch=arch, img_size=8, patch_size=4, init_cfg=dict(type=kind, checkpoint='FILE'))
    assert not model.draws_weights()
    model.init_cfg = dict(type='Constant', layer='Linear')
    assert model.draws_weights()


@pytest.mark.parametrize('kind', DATASET, ids=str)
def test_a_data_set_is_known(kind, tmp_path):
    dataset = dict(type=kind, data_root=str(tmp_path), data_prefix=dict(img_path='img', seg_map_path='ann'))
    config = Config(dict(default_scope='mmseg', model={}, test_dataloader=dict(dataset=dataset)))
    report, = check_data(config, ['test'])
    assert report.dataset == 'ADE20KDataset'
    assert report.errors and not any('there is no data set of type' in error.message for error in report.errors)
    meta = _dataset_meta(config, SimpleNamespace(checkpoint_meta={}, num_classes=150))
    assert meta['classes'][:2] == ['wall', 'building']


@pytest.mark.parametrize('kind', ['OneCycleLR', 'mmengine.OneCycleLR', OneCycleLR,
                                  LazyObject('mmengine.optim', 'OneCycleLR')], ids=str)
def test_a_one_cycle_too_short_is_refused(kind):
    schedule = [dict(type=kind, eta_max=0.1, total_steps=4, pct_start=0.25)]
    with pytest.raises(ValueError, match='total_steps=4 leaves OneCycleLR no rise or no fall'):
        check_values(Config(dict(default_scope='mmseg', model={}, param_scheduler=schedule)), Context())
