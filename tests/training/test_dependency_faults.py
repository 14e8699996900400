"""Faults of dependencies that training works around: each is shown on the installed versions.

A test that fails says that a fault is gone: look whether the workaround, named in its docstring, can go too.
"""

import inspect
import os
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from mmengine._strategy import FSDPStrategy
from mmengine.dist import init_dist
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper, OneCycleLR
from mmengine.runner import Runner
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from mmseg.evaluation import IoUMetric
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason='a fault of machines without CUDA')


@without_cuda
def test_mmengines_mixed_precision_asserts_a_gpu():
    """``amp.CPUAmpOptimWrapper`` does without."""
    with pytest.raises(AssertionError, match='(?i)gpu|cuda'):
        AmpOptimWrapper(optimizer=torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1))


@without_cuda
def test_mmengine_joins_processes_on_gpus_alone(monkeypatch):
    """``hardware.join_processes`` joins them over gloo before the Runner would."""
    for name, value in dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1', MASTER_PORT=1).items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises((AssertionError, RuntimeError), match='(?i)cuda|nvidia'):
        init_dist('pytorch', 'gloo')
    assert not torch.distributed.is_initialized()


@without_cuda
def test_mmengine_hands_a_device_to_data_parallel_models_on_cpus(monkeypatch, tmp_path):
    """``hardware.adapt_to_hardware`` sets ``model_wrapper_cfg.device_ids`` to None."""
    given = {}

    class Seen(Exception):
        pass

    def wrap(*args, **kwargs):
        given.update(kwargs)
        raise Seen

    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr('mmengine.runner.runner.MMDistributedDataParallel', wrap)
    runner = SimpleNamespace(distributed=True, cfg={}, _launcher='pytorch')
    with pytest.raises(Seen):
        Runner.wrap_model(runner, None, nn.Linear(1, 1))
    assert given['device_ids'] == [0] and issubclass(MMDistributedDataParallel, nn.Module)


def test_mmengine_recomputes_activations_by_the_reentrant_variant():
    """``recompute.check_recomputed`` makes it take the other: above frozen blocks nothing would get a gradient."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    turn_on_activation_checkpointing(model, '1')
    with pytest.warns(UserWarning):
        output = model(torch.ones(1, 2))
    assert not output.requires_grad


def test_mmseg_counts_areas_by_histc():
    """``iou_metric.areas_on_cpu``: on CUDA ``histc`` has no deterministic version for numbers with a point."""
    with mock.patch.object(torch, 'histc', side_effect=ZeroDivisionError), pytest.raises(ZeroDivisionError):
        IoUMetric.intersect_and_union(torch.zeros(2, 2), torch.zeros(2, 2), 3, 255)


def test_average_pooling_to_a_size_has_no_deterministic_gradient_on_cuda():
    """A deterministic training of a head that pools so ends at its first step (docs/reliability.md)."""
    assert 'AdaptiveAvgPool2d' in torch.use_deterministic_algorithms.__doc__
    if torch.cuda.is_available():
        image = torch.ones(1, 1, 4, 4, device='cuda', requires_grad=True)
        torch.use_deterministic_algorithms(True)
        with pytest.raises(RuntimeError, match='deterministic'):
            nn.AdaptiveAvgPool2d(2)(image).sum().backward()


def test_mmengine_saves_in_place_and_deletes_the_old_checkpoint_first(tmp_path):
    """``saving.AtomicCheckpointHook`` deletes it last, ``saving.save_atomically`` moves whole files into place."""
    seen = []

    def save_checkpoint(out_dir, name, *args, **kwargs):
        seen.append(sorted(path.name for path in Path(out_dir).glob('*.pth')))
        (Path(out_dir) / name).write_text('whole')

    runner = SimpleNamespace(work_dir=str(tmp_path), message_hub=MessageHub('in place'), iter=0, epoch=0,
                             logger=SimpleNamespace(info=str), save_checkpoint=save_checkpoint)
    hook = CheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1)
    hook.before_train(runner)
    for step in (1, 2):
        hook._save_checkpoint_with_step(runner, step, dict())
    assert seen == [[], []]
    with mock.patch('builtins.open', side_effect=OSError(28, os.strerror(28))), pytest.raises(OSError):
        hook._save_checkpoint_with_step(runner, 3, dict())  # `last_checkpoint`, opened under its own name


def test_one_cycle_divides_by_zero_where_a_phase_is_one_step_long():
    """``config_values`` refuses such lengths."""
    with pytest.raises(ZeroDivisionError):
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1)
        scheduler = OneCycleLR(optimizer, eta_max=1, total_steps=4, pct_start=0.25)
        for _ in range(4):
            optimizer.step()
            scheduler.step()


def test_mmengine_hands_fsdp_its_arguments_in_another_order():
    """``fsdp.ResumableFSDPStrategy`` names them."""
    order = list(inspect.signature(FullyShardedDataParallel.optim_state_dict_to_load).parameters)
    strategy = SimpleNamespace(model='model', optim_wrapper=mock.Mock())
    with mock.patch.object(FullyShardedDataParallel, 'optim_state_dict_to_load') as load:
        FSDPStrategy.load_optim_state_dict(strategy, 'state')
    given = {**dict(zip(order, load.call_args.args)), **load.call_args.kwargs}
    assert given['model'] != 'model'
