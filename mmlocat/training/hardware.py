"""Adapts a recipe to this launch: to a machine without CUDA, and to the total batch of its processes."""

from __future__ import annotations

import atexit
import gc
import os
from typing import Any, List, Optional

import torch
from mmengine._strategy import DDPStrategy
from mmengine.config import Config
from mmengine.registry import MODELS, STRATEGIES
from torch import nn

from mmlocat.config import is_kind, resolve_type

from .amp import move_amp_to_cpu
from .context import TRAIN, Context, flatten
from .fsdp import FSDPStrategy


def check_launcher(config: Config, context: Context) -> List[str]:
    """Makes sure that the processes are started as ``--launcher`` says, and on GPUs where it needs some.

    Raises:
        RuntimeError: They are not, or there are more processes than GPUs.
    """
    launcher = config.get('launcher', 'none')
    if launcher in ('slurm', 'mpi') and not torch.cuda.is_available():
        raise RuntimeError(f'--launcher {launcher} needs CUDA, and there is none; on CPUs use --launcher pytorch '
                           '(tools/dist_train.sh)')
    if launcher == 'none' and shards(config):
        raise RuntimeError('FSDP shards over processes, and this is one without a launcher: start it with '
                           'tools/dist_train.sh CONFIG GPUS, or leave out _base_/fsdp.py')
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise RuntimeError('--launcher pytorch needs torchrun: use tools/dist_train.sh CONFIG GPUS or '
                           'tools/dist_test.sh CONFIG CHECKPOINT GPUS')
    processes, gpus = int(os.environ.get('LOCAL_WORLD_SIZE', 1)), torch.cuda.device_count()
    over_nccl = flatten(config.get('env_cfg') or {}).get('dist_cfg.backend', 'nccl') == 'nccl'
    if launcher == 'pytorch' and torch.cuda.is_available() and over_nccl and processes > gpus:
        raise RuntimeError(f'{processes} processes on this machine with {gpus} GPU{"s" * (gpus > 1)}: NCCL takes one a '
                           'GPU; start fewer, or all of them on CPUs with CUDA_VISIBLE_DEVICES= before the command')
    return []


def adapt_to_hardware(config: Config, context: Context) -> List[str]:
    """Changes a config in place so that it runs without CUDA; with CUDA it stays as it is.

    SyncBN raises on a CPU and becomes BN, mixed precision runs on CPU autocast (mmengine's AmpOptimWrapper
    asserts a GPU), several processes communicate over gloo.

    Raises:
        ValueError: ``optim_wrapper.dtype`` is not one of mixed precision.
    """
    if torch.cuda.is_available():
        return []
    changes = []
    if config.get('launcher') == 'pytorch':
        config.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
        # mmengine (0.10.7 and OneDL's 0.10.12) passes the local rank as a device, which is refused on a CPU.
        wrapper = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=config.get('find_unused_parameters', False))
        device: dict = dict(device_ids=None)
        config.model_wrapper_cfg = {**wrapper, **(config.get('model_wrapper_cfg') or {}), **device}
        if shards(config):
            wrapper, device = dict(type='MMFullyShardedDataParallel'), dict(device_id='cpu')
        if is_kind(config.get('strategy'), DDPStrategy, STRATEGIES, config.get('default_scope')):  # FSDP's is one
            config.strategy.model_wrapper = {**wrapper, **(config.strategy.get('model_wrapper') or {}), **device}
        changes.append('processes talk over gloo')
    if _replace_sync_bn(config.get('model', {}), config.get('default_scope')):
        changes.append('SyncBN runs as BN')
    dtype = move_amp_to_cpu(config)
    if dtype:
        changes.append(f'mixed precision runs in {dtype} on CPU autocast')
    return [f'No CUDA device: {", ".join(changes)}.'] if changes else []


def shards(config: Config) -> bool:
    """Whether a config asks for FSDP, which splits weights over processes."""
    return is_kind(config.get('strategy'), FSDPStrategy, STRATEGIES, config.get('default_scope'))


def _replace_sync_bn(node: Any, scope: Optional[str]) -> int:
    """Turns every norm config of type SyncBN below ``node`` into BN; returns how many there were."""
    if isinstance(node, (list, tuple)):
        return sum(_replace_sync_bn(value, scope) for value in node)
    if not isinstance(node, dict):
        return 0
    kind = resolve_type(node, MODELS, scope)
    # mmcv has a class of this name too; importing it needs mmcv's compiled operations.
    found = isinstance(kind, type) and (issubclass(kind, nn.SyncBatchNorm) or kind.__name__ == 'SyncBatchNorm')
    if found:
        node['type'] = 'BN'
    return found + sum(_replace_sync_bn(value, scope) for value in node.values())


def join_processes(config: Config, context: Context) -> List[str]:
    """Initialises the process group over gloo, if there is no CUDA.

    mmengine's own initialisation (0.10.7, OneDL 0.10.12) calls ``torch.cuda.set_device`` first, which raises without
    CUDA. When mmengine checks for CUDA before that call, this is not needed any more.
    """
    launched = config.get('launcher') == 'pytorch' and not torch.distributed.is_initialized()
    if launched and not torch.cuda.is_available():
        torch.distributed.init_process_group('gloo')
        atexit.register(leave_processes)
    return []


def leave_processes() -> None:
    """Destroys the process group, if there is one; nothing may refer to the models any more.

    A gloo group that outlives the interpreter has aborted a finished process ("terminate called without an active
    exception"), and with it the launch.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()  # frees the models' references to the group first
        torch.distributed.destroy_process_group()


def world_size(launcher: str) -> int:
    """Returns the number of processes of this launch, before the process group exists."""
    names = dict(pytorch='WORLD_SIZE', slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE')
    return int(os.environ.get(names.get(launcher, ''), 1))


def total_batch(config: Config, processes: int) -> Optional[int]:
    """Returns the images per optimizer step: batch size x processes x accumulated steps; None without a batch size."""
    batch = (config.get('train_dataloader') or {}).get('batch_size')
    steps = (config.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    return batch * processes * steps if isinstance(batch, int) else None


def adapt_total_batch(config: Config, context: Context) -> List[str]:
    """Scales the learning rate to the total batch of this launch, if ``auto_scale_lr.enable`` asks for it.

    mmengine's own scaling, which ignores accumulated gradients and the peak of a OneCycleLR, is switched off, and
    ``auto_scale_lr.base_batch_size`` is set to the total batch that the new rate is for. If nothing asks for it, a
    training whose total batch is not the recipe's gets a remark.
    """
    scale = config.get('auto_scale_lr') or {}
    asked, recipe, total = scale.get('enable'), scale.get('base_batch_size'), total_batch(config, context.processes)
    if asked:
        if recipe is None:
            raise ValueError('--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=...) in the config: '
                             'the total batch that its learning rate was chosen for')
        scale['enable'] = False
    if recipe is None or total in (None, recipe) or not (asked or context.job == TRAIN):
        return []
    batch, old = config.train_dataloader.batch_size, config.optim_wrapper.optimizer.lr
    steps, new = total // (batch * context.processes), old * total / recipe
    size = f'Total batch {total} ({context.processes} x {batch}{f" x {steps}" if steps > 1 else ""})'
    if not asked:
        fitting, rest = divmod(recipe, context.processes * steps)
        other = '' if rest or not fitting else f'train_dataloader.batch_size={fitting} by --cfg-options, or '
        return [f"{size} is not the recipe's {recipe}. To keep to the recipe: {other}--auto-scale-lr (learning rate "
                f'{old:g} -> {new:g}).']
    scale['base_batch_size'], config.optim_wrapper.optimizer.lr = total, new
    schedulers = config.get('param_scheduler') or []
    for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
        if 'eta_max' in scheduler:  # of a OneCycleLR
            scheduler['eta_max'] = scheduler['eta_max'] * total / recipe
    return [f'{size} instead of {recipe}: learning rate scaled from {old:g} to {new:g}.']
