"""Builds model and optimizer; checks that the parts fit by a forward pass on the meta device, which tracks shapes."""

from __future__ import annotations

from typing import Any, Callable, List

import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.device import get_device
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mmlocat.attention import GaussianAttention
from mmlocat.attention.backends import choose
from mmlocat.attention.calls import Request
from mmlocat.models.backbones.protocol import find_backbone
from mmlocat.models.building import input_shape
from mmlocat.utils import first_line

from .context import TRAIN, Context
from .footprint import kept_for_backward
from .hardware import shards
from .initial_weights import on_meta


def build_model(config: Config, context: Context) -> List[str]:
    """Builds the model of a FlexibleRunner, whose strategy then uses it unchanged; a Runner already has its model."""
    runner = context.runner
    if isinstance(runner.model, dict):
        runner.model = runner.strategy.build_model(runner.model)
    return []


def build_optimizer(config: Config, context: Context) -> List[str]:
    """Builds optimizer and schedulers in mmengine's order; a FlexibleRunner's strategy builds them with the model."""
    runner = context.runner
    if not isinstance(runner, Runner):
        return []
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    return []


def check_needs(config: Config, context: Context) -> List[str]:
    """Makes sure that a training has what its model cannot do without, as the model's attributes say.

    ``needed_hooks`` are names of hooks' classes; a model with ``shardable=False`` cannot be trained by FSDP.

    Raises:
        ValueError: A hook is missing, or the training is sharded.
    """
    runner, model = context.runner, context.model
    kind = type(model).__name__
    present = {base.__name__ for hook in runner.hooks for base in type(hook).__mro__}
    for hook in getattr(model, 'needed_hooks', ()):
        if hook not in present:
            raise ValueError(f'model.type={kind} does not train without {hook}, and custom_hooks='
                             f"{config.get('custom_hooks')!r} has none; add dict(type='{hook}') to it: a list replaces "
                             'that of _base_ as a whole')
    sharded = shards(config) or isinstance(runner.model, FullyShardedDataParallel)
    if sharded and not getattr(model, 'shardable', True):
        raise ValueError(f'model.type={kind} cannot be sharded by FSDP; leave configs/_base_/fsdp.py, strategy and '
                         'model_wrapper_cfg out, and train it with tools/dist_train.sh CONFIG GPUS')
    return []


def check_model(config: Config, context: Context) -> List[str]:
    """Runs a batch of the training's size, or one image in a test, through a copy of backbone, neck and heads.

    Models that the meta device cannot run, and those without a LocAt backbone, are not checked.

    Raises:
        ValueError: A part does not fit what it gets.
    """
    training = context.job == TRAIN
    batch = (config.get('train_dataloader') or {}).get('batch_size', 1) if training else 1
    _try_batch(config, context, batch)
    return []


def check_last_batch(config: Config, context: Context) -> List[str]:
    """Runs a last batch of one image, if the epochs of a training end with one, as ``check_model`` runs a whole one.

    Raises:
        ValueError: BatchNorm cannot train on it.
    """
    loader = context.runner.train_loop.dataloader
    sampler = getattr(loader.sampler, 'sampler', loader.sampler)  # inside a ``SeededSampler``
    size = loader.batch_size or 1
    endless = isinstance(sampler, InfiniteSampler) or not hasattr(sampler, '__len__')
    if size == 1 or loader.drop_last or endless or len(sampler) % size != 1:
        return []
    try:
        _try_batch(config, context, 1)
    except ValueError as error:
        if 'BatchNorm' not in str(error):
            raise
        raise ValueError(f'the last batch of an epoch has one image ({len(sampler)} by {size}), and BatchNorm cannot '
                         'train on one: set train_dataloader.drop_last=True, or another batch_size') from error
    return []


def _try_batch(config: Config, context: Context, batch: int) -> None:
    """Runs a batch of images through a copy of the model on the meta device; see ``check_model``."""
    training = context.job == TRAIN
    if find_backbone(context.model) is None or not hasattr(context.model, 'backbone'):
        return
    try:
        model = on_meta(context.model)
    except Exception:  # third-party modules may not support copying
        return
    model.eval()  # not chained: it returns None for some models of MMPretrain (1.2.0 to 1.3.6)
    _check_backends(model.backbone, training)
    # With several processes SyncBN sees the whole batch; with one process it works as BatchNorm.
    if training and (context.processes == 1 or not any(isinstance(part, nn.SyncBatchNorm) for part in model.modules())):
        model.train()
    # One mean a channel, or one for all.
    means = getattr(getattr(model, 'data_preprocessor', None), 'mean', None)
    channels = model.backbone.in_channels if means is None or len(means) == 1 else len(means)
    with kept_for_backward(model) if context.options['dry_run'] and training else torch.no_grad() as kept:
        # A decoder whose queries run through the blocks says how to try both.
        backbone = getattr(model, 'try_features', model.backbone)
        features = _run('backbone', backbone, torch.zeros(batch, channels, *input_shape(config), device='meta'))
        if getattr(model, 'with_neck', False):
            features = _run('neck', model.neck, features)
        for name in ('decode_head', 'auxiliary_head', 'head'):
            head = getattr(model, name, None)
            for part in head if isinstance(head, nn.ModuleList) and name == 'auxiliary_head' else [head]:
                if isinstance(part, nn.Module) and not isinstance(part, nn.ModuleList):
                    _run(name, part, features)
    if kept is not None:
        context.kept = max(context.kept or 0, sum(storage.nbytes() for storage in kept.values()))


def _check_backends(backbone: nn.Module, training: bool) -> None:
    """Checks that the named back-end can run on the job's device, then selects one that runs on the meta device."""
    needs_grad = training and any(parameter.requires_grad for parameter in backbone.parameters())
    dropouts = [getattr(module, 'attn_drop', 0.0) for module in backbone.modules()]
    for attention in backbone.modules():
        if not isinstance(attention, GaussianAttention):
            continue
        if attention.backend != 'auto':
            query = torch.empty(1, 1, 1, attention.log_var.in_features, device=get_device())
            choose(attention.backend, Request(query, needs_grad, max(dropouts) if training else 0.0))
        attention.backend = 'sdpa'


def _run(name: str, part: Callable, features: Any) -> Any:
    """Returns the part's output; None for no input, or if it fails only because of the meta device."""
    if features is None:
        return None
    try:
        return part(features)
    except Exception as error:  # third-party layers may raise anything
        # Backbones may give pairs of tensors.
        parts = [features] if isinstance(features, Tensor) else [
            part for pair in features for part in (pair if isinstance(pair, (tuple, list)) else [pair])]
        tensors: List[Tensor] = [part for part in parts if isinstance(part, Tensor)]
        if isinstance(error, NotImplementedError) or 'meta' in str(error).lower():
            return None
        if 'Expected more than 1 value per channel' in str(error):
            raise ValueError(f'BatchNorm in model.{name} cannot train with train_dataloader.batch_size=1: pooling '
                             'leaves one value a channel; use a batch of 2 or more, or '
                             f"model.{name}.norm_cfg=dict(type='GN', num_groups=32)") from error
        reason = first_line(error)
        if isinstance(error, ValueError):  # from a part that checks its input, and says what to change
            raise ValueError(f'model.{name}: {reason}') from error
        settings = ', '.join(f'{key}={getattr(part, key)}' for key in ('in_channels', 'in_index') if hasattr(part, key))
        shapes = ', '.join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ValueError(f'model.{name} ({settings}) does not fit what it gets, of shape {shapes}: '
                         f'{reason.rstrip(".")}; check in_channels and in_index against arch, out_indices and out_type '
                         'of model.backbone') from error
