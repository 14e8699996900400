"""A type is seen alike in every form that a config may give it: what starts a backbone, what writes label maps."""

import importlib.util
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.config.lazy import LazyObject
from mmengine.model import PretrainedInit
from mmseg.evaluation import IoUMetric

from mmlocat.training.initial_weights import initial_checkpoint
from tests.conftest import ROOT


@pytest.mark.parametrize('kind', ['Pretrained', 'mmengine.Pretrained', PretrainedInit,
                                  LazyObject('mmengine.model', 'PretrainedInit')], ids=str)
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
