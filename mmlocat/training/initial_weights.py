"""Weights are checked before a Runner exists: that they are there, can be read, and fit the model."""

from __future__ import annotations

from typing import List, Optional

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmlocat.checkpoints import CheckpointError, read_checkpoint
from mmlocat.models import LocAtViT
from mmlocat.models.backbones.loading import fit_checkpoint

_GIVE_ANOTHER = 'give another with --cfg-options checkpoint=FILE (checkpoint=None for random weights)'


def set_initial_checkpoint(config: Config, options: Optional[dict] = None) -> None:
    """Hands the variable ``checkpoint`` of a config, whoever set it last, to the backbone.

    A leaf's own ``init_cfg`` has only the value that the leaf was written with.

    Args:
        config: The config to change in place; one without the variable is left alone.
        options: What ``--cfg-options`` changed: a ``model.backbone.init_cfg`` there goes before the variable, unless
            that is changed too.

    Raises:
        ValueError: The variable is not text.
    """
    options = options or {}
    overridden = any(key.startswith('model.backbone.init_cfg') for key in options) and 'checkpoint' not in options
    if 'checkpoint' not in config or overridden:
        return
    checkpoint = config.checkpoint
    if checkpoint is not None and not isinstance(checkpoint, str):
        raise ValueError(f'checkpoint={checkpoint!r} is not the name of a file')
    config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=checkpoint) if checkpoint else None


def initial_checkpoint(config: Config) -> Optional[str]:
    """Returns the file or address that the backbone starts from, or None."""
    backbone = config.get('model', {}).get('backbone') or {}
    init = backbone.get('init_cfg') or []
    for entry in [init] if isinstance(init, dict) else init:
        if str(entry.get('type')) == 'Pretrained' and entry.get('checkpoint'):
            return entry['checkpoint']
    return config.get('model', {}).get('pretrained') or config.get('load_from')


def check_initial_weights(config: Config, allow_random_backbone: bool = False,
                          trust_pickle: bool = False) -> List[str]:
    """Makes sure that what a recipe starts from is there and fits.

    Args:
        config: A training config.
        allow_random_backbone: Whether a frozen backbone may keep its random weights.
        trust_pickle: Whether a pickle may hold anything.

    Returns:
        Remarks for the user.

    Raises:
        RuntimeError: A frozen backbone has no weights to start from, or they cannot be read, or do not fit.
        FileNotFoundError: The file or the hub repository does not exist.
    """
    source = initial_checkpoint(config)
    backbone = config.get('model', {}).get('backbone') or {}
    frozen = backbone.get('frozen_stages', -1) > 0
    if source is None:
        if frozen and not allow_random_backbone:
            raise RuntimeError('the backbone is frozen and has no weights: give them with --cfg-options '
                               'checkpoint=FILE (the result of the pretraining config), or pass '
                               '--allow-random-backbone if random features are what you want')
        if frozen:
            return ['The frozen backbone keeps random weights (--allow-random-backbone).']
        if 'checkpoint' in config:
            return ['The backbone starts from random weights; --cfg-options checkpoint=FILE gives it others.']
        return []
    _check_backbone(config, source, trust_pickle)
    return [f'The backbone starts from {source}.']


def _check_backbone(config: Config, source: str, trust_pickle: bool) -> None:
    """Reads the weights, and fits them to a backbone built for the purpose; only ours knows how."""
    try:
        checkpoint = read_checkpoint(source, trust_pickle=trust_pickle)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'initial weights: {error}; {_GIVE_ANOTHER}') from error
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f'initial weights: {error}; {_GIVE_ANOTHER}') from error
    settings = config.model.get('backbone')
    if not settings or 'LocAtViT' not in str(settings.get('type')):
        return
    init_default_scope(config.get('default_scope', 'mmengine'))
    model = MODELS.build({**settings, 'init_cfg': None})
    assert isinstance(model, LocAtViT)
    state = dict(checkpoint.state_dict)
    if source == config.get('load_from') and any(name.startswith('backbone.') for name in state):
        # MMEngine matches its names with those of the whole model.
        state = {name: value for name, value in state.items() if name.startswith('backbone.')}
    try:
        fit_checkpoint(model, state, metadata={'ref_grid': checkpoint.ref_grid})
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f'{source}: {error}') from error


def check_model_weights(config: Config, source: str, trust_pickle: bool = False) -> None:
    """Makes sure that a checkpoint is one of the config's whole model, before it is tested.

    mmengine would only log what does not match, and score what is left.

    Args:
        config: A test config.
        source: The checkpoint.
        trust_pickle: Whether a pickle may hold anything.

    Raises:
        FileNotFoundError: There is no such file.
        RuntimeError: It cannot be read, or lacks weights of the model, or has them in another shape.
    """
    state = read_checkpoint(source, trust_pickle=trust_pickle).state_dict
    init_default_scope(config.get('default_scope', 'mmengine'))
    model: nn.Module = MODELS.build(config.model)
    own = model.state_dict()
    wrong = [name for name, value in own.items()
             if name not in state or (state[name].shape != value.shape and not name.endswith('pos_embed'))]
    unused = [name for name in state if name not in own and '.attn.gaug.' in name]
    if wrong or unused:
        names = wrong or unused
        problem = 'are missing or have another shape' if wrong else 'are in the checkpoint alone'
        raise RuntimeError(f'{source} does not fit the model of this config: {len(names)} weights {problem} '
                           f'({", ".join(names[:3])}{" ..." if len(names) > 3 else ""}); is it of another config?')
