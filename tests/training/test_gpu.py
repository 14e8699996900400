"""What differs on a GPU: counting areas, deterministic gradients, one process a GPU. Most of it shows without one."""

import copy
import os
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmseg.evaluation import IoUMetric

from mmlocat.config import load_config
from mmlocat.models.backbones import position
from mmlocat.models.building import build_model
from mmlocat.training.class_iou import class_areas, count_class_areas
from mmlocat.training.cli import test_job as make_test_job
from mmlocat.training.cli import training_job
from mmlocat.training.context import TRAIN, Context
from mmlocat.training.determinism import check_determinism, prepare_determinism
from mmlocat.training.hardware import check_launcher
from mmlocat.training.model_check import check_model
from tests.conftest import ROOT

CONFIGS = ROOT / 'configs'
LINEAR, UPERNET = (str(CONFIGS / f'locatvit-nano_{head}_digitscenes.py') for head in ('linear', 'upernet'))
DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'))]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('kind', [torch.int64, torch.uint8, torch.float32])
@pytest.mark.parametrize('classes', [1, 2, 11, 150])
def test_areas_are_those_of_mmseg(classes, kind, device):
    """With ignored pixels, values beyond the classes and below them, and maps of nothing but ignored pixels."""
    torch.use_deterministic_algorithms(True)  # which mmseg's own counting does not bear on a GPU
    for draw in range(20):
        generator = torch.Generator().manual_seed(draw)
        prediction, label = (torch.randint(min(255, classes + 3), (2, 23, 31), generator=generator).to(kind))
        label[torch.rand(23, 31, generator=generator) < (1. if draw == 0 else 0.2)] = 255
        if draw % 2 and kind is not torch.uint8:
            prediction -= 2
        expected = IoUMetric.intersect_and_union(prediction, label, classes, 255)
        found = class_areas(prediction.to(device), label.to(device), classes, 255)
        assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in zip(found, expected))
        assert draw == 0 or found[1].sum() > 0


def test_trainings_and_tests_count_without_histc(digit_scenes, tmp_path, monkeypatch):
    """In validation and in a test, where the IoU of each class is counted too."""
    def refuse(*args, **kwargs):
        raise RuntimeError('_histc_cuda does not have a deterministic implementation')

    monkeypatch.setattr(torch, 'histc', refuse)
    roots = [f'{part}_dataloader.dataset.data_root={digit_scenes}' for part in ('train', 'val', 'test')]
    options = ['--cfg-options', *roots, 'train_cfg.max_iters=2', 'train_cfg.val_interval=2',
               'train_dataloader.batch_size=4', 'param_scheduler.0.total_steps=8']
    work_dir = ['--work-dir', str(tmp_path)]
    training_job([LINEAR, *work_dir, '--allow-random-backbone', *options])()
    metrics = make_test_job([LINEAR, str(tmp_path / 'iter_2.pth'), *work_dir, *options])()
    assert 0 < metrics['mIoU'] < 100
    with pytest.raises(RuntimeError, match='_histc_cuda'):
        IoUMetric.intersect_and_union(torch.zeros(2, 2), torch.zeros(2, 2), 3, 255)


def test_a_metric_that_counts_in_its_own_way_is_left_alone():
    class Own(IoUMetric):
        @staticmethod
        def intersect_and_union(*args):
            return 'its own'

    stock, own = IoUMetric(), Own()
    count_class_areas(SimpleNamespace(metrics=[stock, own, object()]))
    assert stock.intersect_and_union is class_areas and own.intersect_and_union() == 'its own'
    count_class_areas(object())  # an evaluator of somebody else's


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


def test_a_head_without_deterministic_gradients_is_refused(monkeypatch):
    deterministic, models = dict(randomness=dict(deterministic=True)), {}
    for path in (LINEAR, UPERNET):
        models[path] = build_model(load_config(path), 'meta')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    check_determinism(Config(deterministic), with_model(models[UPERNET]))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    check_determinism(Config(deterministic), with_model(models[LINEAR]))
    check_determinism(Config({}), with_model(models[UPERNET]))
    with pytest.raises(RuntimeError, match=r'decode_head.psp_modules.1.0 \(AdaptiveAvgPool2d to 2\) has no '
                                           'deterministic gradient on CUDA .*CUDA_VISIBLE_DEVICES='):
        check_determinism(Config(deterministic), with_model(models[UPERNET]))
    check_determinism(Config(deterministic), with_model(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1))))


@pytest.mark.parametrize('mode', ['bicubic', 'bilinear'])
@pytest.mark.parametrize('target', [(9, 9), (32, 20), (4, 7)])
def test_a_resized_position_embedding_has_the_same_gradient_either_way(mode, target, monkeypatch):
    """Deterministic, on a GPU: by matrices instead of ``interpolate``."""
    found = []
    for by_matrices in (False, True):
        monkeypatch.setattr(position, '_needs_deterministic_gradient', lambda embedding, answer=by_matrices: answer)
        embedding = torch.randn(1, 2 + 36, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
        resized = position.resize_position_embedding(embedding, (6, 6), target, 2, mode)
        (resized * torch.arange(resized.numel()).view_as(resized).sin()).sum().backward()
        found.append((resized.detach(), embedding.grad))
    for one, other in zip(*found):
        assert one.shape == other.shape and torch.allclose(one, other, atol=1e-5)


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
