"""What differs on a GPU: counting areas, deterministic gradients, one process a GPU. Most of it shows without one."""

import copy
import os
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmseg.evaluation import IoUMetric

from mmlocat.attention.vit import position
from mmlocat.config import load_config
from mmlocat.models.building import build_model
from mmlocat.training.cli import test_job as make_test_job
from mmlocat.training.cli import training_job
from mmlocat.training.context import TRAIN, Context
from mmlocat.training.hardware import check_launcher
from mmlocat.training.iou_metric import areas_on_cpu, count_class_areas
from mmlocat.training.model_check import check_model
from mmlocat.training.seeding import prepare_determinism
from tests.conftest import ROOT

CONFIGS = ROOT / 'configs'
LINEAR, UPERNET = (str(CONFIGS / f'locatvit-nano_{head}_digitscenes.py') for head in ('linear', 'upernet'))


class OnGpu(torch.Tensor):
    """A label map that is not on the CPU, as far as ``cpu`` tells."""

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_a_deterministic_job_counts_areas_on_the_cpu(monkeypatch):
    """Where ``histc``, by which mmseg counts, is deterministic for numbers with a point."""
    class Own(IoUMetric):
        @staticmethod
        def intersect_and_union(*args):
            return 'its own'

    stock, own = IoUMetric(), Own()
    evaluator = SimpleNamespace(metrics=[stock, own, object()])
    count_class_areas(evaluator)
    assert stock.intersect_and_union is IoUMetric.intersect_and_union
    torch.use_deterministic_algorithms(True)
    count_class_areas(evaluator)
    count_class_areas(object())  # an evaluator of somebody else's
    assert stock.intersect_and_union is areas_on_cpu and own.intersect_and_union() == 'its own'
    prediction, label = torch.randint(0, 5, (2, 23, 31), generator=torch.Generator().manual_seed(0)).float()
    expected = IoUMetric.intersect_and_union(prediction, label, 5, 255)
    histc = torch.histc
    monkeypatch.setattr(torch, 'histc', lambda value, **options: 1 / 0 if type(value) is OnGpu else histc(
        value, **options))
    with pytest.raises(ZeroDivisionError):
        IoUMetric.intersect_and_union(prediction.as_subclass(OnGpu), label.as_subclass(OnGpu), 5, 255)
    found = stock.intersect_and_union(prediction.as_subclass(OnGpu), label.as_subclass(OnGpu), 5, 255)
    assert all(torch.equal(one, other) for one, other in zip(found, expected))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_deterministic_training_and_test_on_a_gpu(digit_scenes, tmp_path):
    roots = [f'{part}_dataloader.dataset.data_root={digit_scenes}' for part in ('train', 'val', 'test')]
    options = ['--work-dir', str(tmp_path), '--cfg-options', *roots, 'train_cfg.max_iters=2',
               'train_cfg.val_interval=2', 'train_dataloader.batch_size=4', 'param_scheduler.0.total_steps=8',
               'randomness.deterministic=True']
    training_job([LINEAR, '--allow-random-backbone', *options])()
    assert 0 < make_test_job([LINEAR, str(tmp_path / 'iter_2.pth'), *options])()['mIoU'] < 100


def test_products_repeat_themselves_where_that_is_asked_for(monkeypatch):
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG')
    for randomness in ({}, dict(seed=0), dict(deterministic=False)):
        prepare_determinism(Config(dict(randomness=randomness)), Context())
    assert 'CUBLAS_WORKSPACE_CONFIG' not in os.environ
    prepare_determinism(Config(dict(randomness=dict(deterministic=True))), Context())
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':16:8')
    prepare_determinism(Config(dict(randomness=dict(deterministic=True))), Context())
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':16:8'


def with_model(model, **more):
    return Context(runner=SimpleNamespace(model=model), **more)




@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_position_embedding_trains_deterministically():
    torch.use_deterministic_algorithms(True)
    gradients = []
    for _ in range(3):
        embedding = torch.randn(1, 37, 64, generator=torch.Generator().manual_seed(0)).cuda().requires_grad_()
        position.resize_position_embedding(embedding, (6, 6), (32, 20), 1).square().sum().backward()
        gradients.append(embedding.grad)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def test_sync_bn_of_one_process_cannot_train_on_one_value():
    """Where there is a GPU it stays SyncBN; by itself it is BatchNorm all the same."""
    config = load_config(UPERNET, {'train_dataloader.batch_size': 1, 'model.decode_head.norm_cfg.type': 'SyncBN',
                                   'model.auxiliary_head.norm_cfg.type': 'SyncBN'})
    context = with_model(build_model(config), job=TRAIN)
    with pytest.raises(ValueError, match='BatchNorm in model.decode_head cannot train with .*batch_size=1'):
        check_model(config, context)
    config.train_dataloader.batch_size = 2
    check_model(config, context)
    assert all(value.device.type == 'cpu' for value in context.model.state_dict().values())


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setenv('RANK', '0')
    config = load_config(LINEAR)
    for launcher, processes in (('pytorch', '1'), ('none', '2'), ('slurm', '2')):
        monkeypatch.setenv('LOCAL_WORLD_SIZE', processes)
        config.launcher = launcher
        assert check_launcher(copy.deepcopy(config), Context()) == []
    config.launcher = 'pytorch'
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    with pytest.raises(RuntimeError, match='2 processes on this machine with 1 GPU: .*CUDA_VISIBLE_DEVICES='):
        check_launcher(copy.deepcopy(config), Context())
    config.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    assert check_launcher(config, Context()) == []
