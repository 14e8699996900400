"""Checks before a job begins that its weights exist, can be read, and fit the model."""

from __future__ import annotations

import copy
import os
from typing import List, Optional

from mmengine.config import Config
from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from mmlocat.checkpoints import Checkpoint, CheckpointError, read_checkpoint
from mmlocat.checkpoints.mmengine_loader import install_reader
from mmlocat.models.backbones.protocol import find_backbone
from mmlocat.models.building import check_weights

from .context import Context
from .resolve import is_kind

_GIVE_ANOTHER = 'give another with --cfg-options checkpoint=FILE (checkpoint=None for random weights)'


def read_safely(config: Config, context: Context) -> List[str]:
    """Makes mmengine read checkpoints as the checks do: code inside a pickle does not run, unless it is trusted."""
    install_reader(context.options['trust_pickle'])
    return []


def set_initial_checkpoint(config: Config, context: Context) -> List[str]:
    """Sets the backbone's ``init_cfg`` from the config's variable ``checkpoint``, wherever that was set last.

    The ``init_cfg`` in a config file holds only the value that the variable had there. A ``model.backbone.init_cfg``
    that was changed since the file was read takes precedence, unless the variable was changed too.

    Raises:
        ValueError: The variable is not a string.
    """
    changed = context.changed
    overridden = any(key.startswith('model.backbone.init_cfg') for key in changed) and 'checkpoint' not in changed
    backbone = inner_model(config).get('backbone')
    if 'checkpoint' not in config or backbone is None or overridden:
        return []
    checkpoint = config.checkpoint
    if checkpoint is not None and not isinstance(checkpoint, str):
        raise ValueError(f'checkpoint={checkpoint!r} is not the name of a file')
    backbone.init_cfg = dict(type='Pretrained', checkpoint=checkpoint) if checkpoint else None
    return []


def inner_model(config: Config) -> dict:
    """Returns the config's model; for a test-time augmentation model, the one inside it."""
    model = config.get('model') or {}
    return model['module'] if isinstance(model.get('module'), dict) else model


def initial_checkpoint(config: Config) -> Optional[str]:
    """Returns the file or address that the backbone starts from, or None."""
    model = config.get('model') or {}
    init = (model.get('backbone') or {}).get('init_cfg') or []
    for entry in [init] if isinstance(init, dict) else init:
        if is_kind(entry, PretrainedInit, WEIGHT_INITIALIZERS, config.get('default_scope')) and entry.get('checkpoint'):
            return entry['checkpoint']
    return model.get('pretrained') or config.get('load_from')


def check_initial_weights(config: Config, context: Context) -> List[str]:
    """Makes sure that the weights that a recipe starts from exist and can be read.

    Raises:
        RuntimeError: A frozen backbone has no weights to start from, or they cannot be read.
        FileNotFoundError: The file or the hub repository does not exist.
    """
    if context.resumed:
        return []
    source = context.initial = initial_checkpoint(config)
    backbone = (config.get('model') or {}).get('backbone') or {}
    if source is None:
        if backbone.get('frozen_stages', -1) > 0:
            if not context.options['allow_random_backbone']:
                raise RuntimeError('the backbone is frozen and has no weights: give them with --cfg-options '
                                   'checkpoint=FILE (the result of the pretraining config), or pass '
                                   '--allow-random-backbone, or checks.allow_random_backbone=True, if random features '
                                   'are what you want')
            return ['The frozen backbone keeps random weights (--allow-random-backbone).']
        if 'checkpoint' in config:
            return ['The backbone starts from random weights; --cfg-options checkpoint=FILE gives it others.']
        return []
    try:
        _read(source, context)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'initial weights: {error}; {_GIVE_ANOTHER}') from error
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f'initial weights: {error}; {_GIVE_ANOTHER}') from error
    return [f'The backbone starts from {source}.']


def fit_initial_weights(config: Config, context: Context) -> List[str]:
    """Makes sure that initial weights fit the backbone, if it is a LocAt backbone.

    Raises:
        RuntimeError: They do not fit; the message has the first weights that are missing, left over or of another
            shape.
    """
    backbone = find_backbone(context.model)
    if not context.initial or backbone is None:
        return []
    checkpoint = _read(context.initial, context)
    state = dict(checkpoint.state_dict)
    if context.initial == config.get('load_from') and any(name.startswith('backbone.') for name in state):
        # MMEngine matches its names with those of the whole model.
        state = {name: value for name, value in state.items() if name.startswith('backbone.')}
    try:
        on_meta(backbone).fit_checkpoint(state, metadata={'ref_grid': checkpoint.ref_grid})
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f'{context.initial}: {error}') from error
    return []


def check_tested_weights(config: Config, context: Context) -> List[str]:
    """Makes sure that the checkpoint of a test exists and can be read.

    It holds the backbone's weights as well, so ``init_cfg`` of the backbone is removed from the config.

    Raises:
        FileNotFoundError: There is no such file.
        RuntimeError: It cannot be read.
    """
    if tested_checkpoint(config, context):
        _read(config.load_from, context)
        (inner_model(config).get('backbone') or {}).pop('init_cfg', None)
    return []


def fit_tested_weights(config: Config, context: Context) -> List[str]:
    """Makes sure that the checkpoint of a test holds the whole model.

    mmengine would only log weights that do not match, and test a partly random model.

    Raises:
        RuntimeError: It lacks weights of the model, or has them in another shape.
    """
    if tested_checkpoint(config, context):
        model = getattr(context.model, 'module', context.model)  # inside a model of test-time augmentation
        check_weights(model, _read(config.load_from, context).state_dict, config.load_from)
    return []


def tested_checkpoint(config: Config, context: Context) -> Optional[str]:
    """Returns the checkpoint that a test loads; None for a Runner that has trained, which tests its trained model."""
    return None if context.trained else config.get('load_from')


def on_meta(module: nn.Module) -> nn.Module:
    """Returns a copy of a module on the meta device, which holds shapes only; no weights are copied.

    Args:
        module: On any device; left as it is.
    """
    memo = {id(value): nn.Parameter(value.to('meta'), value.requires_grad) for value in module.parameters()}
    memo.update({id(value): value.to('meta') for value in module.buffers()})
    return copy.deepcopy(module, memo)


def _read(source: str, context: Context) -> Checkpoint:
    trust = context.options['trust_pickle'] or os.environ.get('MMLOCAT_TRUST_PICKLE') == '1'
    return read_checkpoint(source, trust_pickle=trust)
