"""Adapts GPU recipes to machines without CUDA, reports the changes, and checks launches of several processes."""

from __future__ import annotations

import atexit
import gc
import os
from typing import Any, List, Optional

import torch
from mmengine._strategy import DDPStrategy, FSDPStrategy
from mmengine.config import Config
from mmengine.registry import MODELS, STRATEGIES
from torch import nn

from .amp import move_amp_to_cpu
from .context import Context
from .resolve import is_kind, resolve_type


def check_launcher(config: Config, context: Context) -> List[str]:
    """Makes sure that ``--launcher pytorch`` was started by torchrun.

    Raises:
        RuntimeError: The environment holds no rank for this process.
    """
    if config.get('launcher') == 'pytorch' and 'RANK' not in os.environ:
        raise RuntimeError('--launcher pytorch needs torchrun: use tools/dist_train.sh CONFIG GPUS or '
                           'tools/dist_test.sh CONFIG CHECKPOINT GPUS')
    return []


def adapt_to_hardware(config: Config, context: Context) -> List[str]:
    """Changes a config in place so that it runs without CUDA; with CUDA it stays as it is.

    SyncBN raises on a CPU and becomes BN, mixed precision runs on CPU autocast (mmengine's AmpOptimWrapper
    asserts a GPU), several processes communicate over gloo.

    Raises:
        RuntimeError: The launcher is 'slurm' or 'mpi', which mmengine can only start on GPUs; or mixed precision in
            float16 is asked for, and this torch has none on CPUs; or there are more processes than GPUs.
        ValueError: Mixed precision in another dtype is asked for.
    """
    launcher = config.get('launcher', 'none')
    if torch.cuda.is_available():
        _check_gpus(config, launcher)
        return []
    changes = []
    if launcher in ('slurm', 'mpi'):
        raise RuntimeError(f'--launcher {launcher} needs CUDA, and there is none; on CPUs use --launcher pytorch '
                           '(tools/dist_train.sh)')
    if launcher == 'pytorch':
        config.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
        # mmengine would pass the local rank as a device, which DistributedDataParallel refuses on a CPU.
        wrapper = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=config.get('find_unused_parameters', False))
        config.model_wrapper_cfg = {**wrapper, **(config.get('model_wrapper_cfg') or {}), 'device_ids': None}
        _put_strategy_on_cpu(config, wrapper)
        changes.append('processes talk over gloo')
    if _replace_sync_bn(config.get('model', {}), config.get('default_scope')):
        changes.append('SyncBN runs as BN')
    dtype = move_amp_to_cpu(config)
    if dtype:
        changes.append(f'mixed precision runs in {dtype} on CPU autocast')
    if not changes:
        return []
    return [f'No CUDA device: {", ".join(changes)}.']


def _check_gpus(config: Config, launcher: str) -> None:
    """Refuses two processes on one GPU, which NCCL would refuse later with a long error."""
    processes, gpus = int(os.environ.get('LOCAL_WORLD_SIZE', 1)), torch.cuda.device_count()
    backend = ((config.get('env_cfg') or {}).get('dist_cfg') or {}).get('backend', 'nccl')
    if launcher == 'pytorch' and backend == 'nccl' and processes > max(1, gpus):
        raise RuntimeError(f'{processes} processes on this machine, which has {gpus} GPU{"s" if gpus > 1 else ""}: '
                           'NCCL takes one a GPU; start fewer, or all of them on CPUs with CUDA_VISIBLE_DEVICES= '
                           'before the command')


def _put_strategy_on_cpu(config: Config, wrapper: dict) -> None:
    """Does for the strategy of a FlexibleRunner what ``model_wrapper_cfg`` does for a Runner."""
    strategy = config.get('strategy')
    if _shards(config):
        default = dict(type='MMFullyShardedDataParallel')
        strategy['model_wrapper'] = {**default, **(strategy.get('model_wrapper') or {}), 'device_id': 'cpu'}
    elif is_kind(strategy, DDPStrategy, STRATEGIES):
        strategy['model_wrapper'] = {**wrapper, **(strategy.get('model_wrapper') or {}), 'device_ids': None}


def _shards(config: Config) -> bool:
    return is_kind(config.get('strategy'), FSDPStrategy, STRATEGIES, config.get('default_scope'))


def _replace_sync_bn(node: Any, scope: Optional[str]) -> int:
    """Turns every norm config of type SyncBN below ``node`` into BN; returns how many there were."""
    if isinstance(node, dict):
        kind = resolve_type(node, MODELS, scope)
        # mmcv has a class of this name too; importing it needs mmcv's compiled operations.
        found = isinstance(kind, type) and (issubclass(kind, nn.SyncBatchNorm) or kind.__name__ == 'SyncBatchNorm')
        if found:
            node['type'] = 'BN'
        return found + sum(_replace_sync_bn(value, scope) for value in node.values())
    if isinstance(node, (list, tuple)):
        return sum(_replace_sync_bn(value, scope) for value in node)
    return 0


def join_processes(config: Config, context: Context) -> List[str]:
    """Initialises the process group over gloo, if there is no CUDA.

    mmengine's own initialisation (0.10.7, OneDL 0.10.12) calls ``torch.cuda.set_device`` first, which raises without
    CUDA. When mmengine checks for CUDA before that call, this is not needed any more.
    """
    if config.get('launcher') == 'pytorch' and not torch.cuda.is_available():
        if not torch.distributed.is_initialized():
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


def check_sharding(config: Config, context: Context) -> List[str]:
    """Makes sure that FSDP, if the config asks for it, runs here.

    Raises:
        RuntimeError: It does not; the message has the reason.
    """
    if not _shards(config):
        return []
    if config.get('launcher', 'none') == 'none':
        raise RuntimeError('FSDP shards over processes, and this is one without a launcher: start it with '
                           'tools/dist_train.sh CONFIG GPUS, or leave out _base_/fsdp.py')
    if torch.cuda.is_available():
        return []
    try:
        torch.cpu.Stream(priority=-1)
        processes = torch.distributed.get_world_size()
        torch.distributed.reduce_scatter_tensor(torch.zeros(1), torch.zeros(processes))
    except (TypeError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise RuntimeError(f'FSDP on CPUs needs a newer PyTorch than {torch.__version__}, whose gloo or CPU streams '
                           f'cannot ({error}); use GPUs, PyTorch 2.14, or leave out _base_/fsdp.py') from error
    return []


def world_size(launcher: str) -> int:
    """Returns the number of processes of this launch, before the process group exists."""
    if launcher == 'pytorch':
        return int(os.environ.get('WORLD_SIZE', 1))
    if launcher == 'slurm':
        return int(os.environ.get('SLURM_NTASKS', 1))
    if launcher == 'mpi':
        return int(os.environ.get('OMPI_COMM_WORLD_SIZE', 1))
    return 1


def local_rank() -> int:
    """Returns this process's number on its machine, from the launcher's environment variables."""
    names = ('LOCAL_RANK', 'SLURM_LOCALID') if 'RANK' in os.environ else ('SLURM_LOCALID', 'LOCAL_RANK')
    return int(next((os.environ[name] for name in names if name in os.environ), 0))


def is_main_process() -> bool:
    """Whether this is the first process, which prints for all, by the launcher's environment variables."""
    rank = os.environ.get('RANK', os.environ.get('SLURM_PROCID', os.environ.get('OMPI_COMM_WORLD_RANK', '0')))
    return int(rank) == 0
