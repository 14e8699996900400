"""Checks that the parts of a model fit together by a forward pass on the meta device, which tracks only shapes."""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Tuple

import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from torch import Tensor, nn

from mmlocat.attention import GaussianAttention, available_backends
from mmlocat.attention.backends import unable
from mmlocat.models.backbones.protocol import find_backbone
from mmlocat.models.building import input_shape
from mmlocat.utils import first_line

from .context import TRAIN, Context
from .hardware import local_rank
from .initial_weights import on_meta
from .resolve import resolve_type

_SYNC_BN = (nn.SyncBatchNorm, )
_ONE_VALUE = 'Expected more than 1 value per channel'  # PyTorch's error message


def check_model(config: Config, context: Context) -> List[str]:
    """Runs a batch of the training's size, or one image in a test, through backbone, neck and heads.

    A copy of the Runner's model runs on the meta device, which computes nothing and takes no memory. Models that the
    meta device cannot run, and those without a LocAt backbone, are not checked.

    Raises:
        ValueError: A part cannot take the output of the part before it; the message says what to change.
        RuntimeError: The attention back-end that the config names cannot run here.
    """
    training = context.job == TRAIN
    if find_backbone(context.model) is None or not hasattr(context.model, 'backbone'):
        return []
    try:
        model = on_meta(context.model)
    except Exception:  # third-party modules may not support copying
        return []
    model.eval()  # not chained: it returns None for some models of MMPretrain
    _check_backends(model.backbone, training)
    # With several processes SyncBN sees the whole batch; with one process it works as BatchNorm.
    if training and (context.processes == 1 or not any(isinstance(module, _SYNC_BN) for module in model.modules())):
        model.train()
    loader = config.get('train_dataloader' if training else 'test_dataloader') or {}
    batch = loader.get('batch_size') if training else 1
    channels = _image_channels(loader, config) or model.backbone.in_channels
    images = torch.zeros(batch or 1, channels, *input_shape(config), device='meta')
    with torch.no_grad():
        features = _run('backbone', model.backbone, images, batch)
        if features is not None and getattr(model, 'with_neck', False):
            features = _run('neck', model.neck, features, batch)
        for name in ('decode_head', 'auxiliary_head', 'head'):
            head = getattr(model, name, None)
            for part in head if isinstance(head, nn.ModuleList) and name == 'auxiliary_head' else [head]:
                if features is not None and isinstance(part, nn.Module) and not isinstance(part, nn.ModuleList):
                    _run(name, part, features, batch)
    return []


def _check_backends(backbone: nn.Module, training: bool) -> None:
    """Checks that the named back-end can run on the job's device, then selects one that runs on the meta device."""
    needs_grad = training and any(parameter.requires_grad for parameter in backbone.parameters())
    device = f'cuda:{local_rank() % torch.cuda.device_count()}' if torch.cuda.is_available() else 'cpu'
    dropouts = [getattr(module, 'attn_drop', 0.0) for module in backbone.modules()]
    dropout_p = max(dropouts, default=0.0) if training else 0.0
    for attention in backbone.modules():
        if not isinstance(attention, GaussianAttention):
            continue
        if attention.backend != 'auto':
            query = torch.empty(1, 1, 1, attention.log_var.in_features, device=device)
            reason = unable(attention.backend, query, needs_grad, dropout_p=dropout_p)
            if reason:
                able = [name for name in available_backends()
                        if name == 'auto' or not unable(name, query, needs_grad, dropout_p=dropout_p)]
                raise RuntimeError(f'model.backbone.attention_backend={attention.backend!r} cannot run '
                                   f'here: {reason}; these can: {", ".join(able)}')
        attention.backend = 'sdpa'


def _image_channels(loader: dict, config: Config) -> Optional[int]:
    """Returns the channels of loaded images; None if they depend on the files or on other transforms."""
    dataset = loader.get('dataset') or {}
    for step in dataset.get('pipeline') or [] if isinstance(dataset, dict) else []:
        if resolve_type(step, TRANSFORMS, config.get('default_scope')) is LoadImageFromFile:
            kind = str(step.get('color_type', 'color')).split('_')[0]
            return {'color': 3, 'grayscale': 1}.get(kind)
    return None


def _run(name: str, part: Callable, features: Any, batch: Optional[int]) -> Any:
    """Returns the part's output; None if it fails only because of the meta device."""
    try:
        return part(features)
    except Exception as error:  # third-party layers may raise anything
        if isinstance(error, NotImplementedError) or 'meta' in str(error).lower():
            return None
        if _ONE_VALUE in str(error):
            raise ValueError(
                f'BatchNorm in model.{name} cannot train with train_dataloader.batch_size={batch}: pooling leaves one '
                f"value a channel; use a batch of 2 or more, or model.{name}.norm_cfg=dict(type='GN', num_groups=32)"
            ) from error
        reason = first_line(error)
        if isinstance(error, ValueError):  # from a part that checks its input, and says what to change
            raise ValueError(f'model.{name}: {reason}') from error
        settings = ', '.join(f'{key}={getattr(part, key)}' for key in ('in_channels', 'in_index') if hasattr(part, key))
        raise ValueError(f'model.{name} ({settings}) does not fit what it gets, of shape {_shapes(features)}: '
                         f'{reason.rstrip(".")}; check in_channels and in_index against arch, out_indices and out_type '
                         'of model.backbone') from error


def _shapes(features: Any) -> str:
    tensors: List[Tensor] = [features] if isinstance(features, Tensor) else [
        tensor for tensor in features if isinstance(tensor, Tensor)]
    shapes: List[Tuple[int, ...]] = [tuple(tensor.shape) for tensor in tensors]
    return ', '.join(map(str, shapes))
