"""Checks before a job begins that its weights exist, can be read, and fit the model."""

from __future__ import annotations

import copy
import os
from typing import List, Optional, Tuple

from mmengine.config import Config
from torch import nn

from mmlocat.checkpoints import Checkpoint, CheckpointError, read_checkpoint
from mmlocat.checkpoints.names import unwrapped
from mmlocat.engine.checkpoint_loader import install_reader
from mmlocat.models.backbones.protocol import find_backbone
from mmlocat.models.building import check_weights, loading_initialisers, weights_for

from .context import TEST, Context


def read_safely(config: Config, context: Context) -> List[str]:
    """Makes mmengine read checkpoints as the checks do: code inside a pickle does not run, unless it is trusted."""
    install_reader(context.options['trust_pickle'])
    return []


def set_initial_checkpoint(config: Config, context: Context) -> List[str]:
    """Sets the backbone's ``init_cfg`` from the config's variable ``checkpoint``, wherever that was set last.

    The ``init_cfg`` in a config file holds only the value that the variable had there. A ``model.backbone.init_cfg``
    that was changed since the file was read takes precedence, unless the variable was changed too.

    Raises:
        ValueError: ``checkpoint`` is no name.
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
    return config.model['module'] if isinstance(config.model.get('module'), dict) else config.model


def weight_sources(config: Config) -> List[Tuple[str, str]]:
    """Lists the files and addresses that a training starts from, as pairs of the setting that names one, and its name.

    The first is what the backbone starts from. MMEngine loads an ``init_cfg`` of the whole model after the backbone's
    and over it, and ``load_from`` after both, into the whole model.
    """
    model, scope = config.get('model') or {}, config.get('default_scope')
    sources = []
    for part, path in ((model, 'model.init_cfg'), (model.get('backbone') or {}, '')):
        for entry in loading_initialisers(part, scope):
            if entry.get('checkpoint'):
                given = part['init_cfg']
                key = '' if isinstance(given, dict) else f'.{list(given).index(entry)}'
                # The variable `checkpoint` takes the place of the backbone's.
                sources.append((f'{path}{key}.checkpoint' if path else 'checkpoint', entry['checkpoint']))
    others = [('model.pretrained', model.get('pretrained')), ('load_from', config.get('load_from'))]
    return sources + [(key, source) for key, source in others if source]


def initial_checkpoint(config: Config) -> Optional[str]:
    """Returns the file or address that the backbone starts from, or None; ``load_from`` if nothing else is set."""
    return next((source for _, source in weight_sources(config)), None)


def over_initial(config: Config) -> Optional[str]:
    """Returns the ``load_from`` of a training that starts from other weights, over which it is loaded; else None."""
    loaded = config.get('load_from')
    return loaded if loaded != initial_checkpoint(config) else None


def over_in_words(loaded: Optional[str]) -> str:
    """Returns a line for a table, about what is loaded over the initial weights; '' if nothing is."""
    return f'then, over them, {loaded} (load_from)' if loaded else ''


def tested_checkpoint(config: Config, context: Context) -> Optional[str]:
    """Returns the checkpoint that a test loads; None for a Runner that has trained, which tests its trained model."""
    return None if context.trained else config.get('load_from')


def find_weights(config: Config, context: Context) -> List[str]:
    """Makes sure that the weights of a job exist and can be read, and that a frozen backbone has some.

    A tested checkpoint holds the backbone's weights too, so the backbone's ``init_cfg`` is removed from the config.

    Raises:
        FileNotFoundError: A checkpoint does not exist.
        RuntimeError: One cannot be read, or a frozen backbone has none.
        ValueError: ``checkpoint`` would have no effect.
    """
    if context.job == TEST:
        if tested_checkpoint(config, context):
            _read(config.load_from)
            (inner_model(config).get('backbone') or {}).pop('init_cfg', None)
        return []
    if context.resumed:
        return []
    sources = weight_sources(config)
    whole = next((key for key, _ in sources if key.startswith('model.init_cfg')), None)
    if whole and config.get('checkpoint'):
        raise ValueError(f'checkpoint={config.checkpoint} would have no effect: the weights of {whole} are loaded over '
                         f'the backbone\'s; give --cfg-options {whole}=FILE, or model.init_cfg=None to leave them out')
    context.initial, context.loaded = initial_checkpoint(config), over_initial(config)
    for key, source in sources:
        try:
            _read(source)
        except (FileNotFoundError, ValueError, RuntimeError) as error:
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else CheckpointError
            raise kind(f'initial weights: {error}; give another with --cfg-options {key}=FILE') from error
    if sources:
        return [f'The backbone starts from {context.initial}.',
                *([f'Then {context.loaded} (load_from) is loaded into the whole model.'] if context.loaded else [])]
    if (config.model.get('backbone') or {}).get('frozen_stages', -1) > 0:
        if not context.options['allow_random_backbone']:
            raise RuntimeError('the backbone is frozen and has no weights: give them with --cfg-options '
                               'checkpoint=FILE, or allow random features with --allow-random-backbone or '
                               'checks.allow_random_backbone=True')
        return ['The frozen backbone keeps random weights (--allow-random-backbone).']
    if 'checkpoint' in config:
        return ['The backbone starts from random weights; --cfg-options checkpoint=FILE gives it others.']
    return []


def fit_weights(config: Config, context: Context) -> List[str]:
    """Makes sure that a tested checkpoint holds the whole model, and that initial weights fit a LocAt backbone.

    mmengine would only log weights that do not match, and test a partly random model.

    Raises:
        RuntimeError: They do not, or cannot be read.
    """
    if context.job == TEST:
        if tested_checkpoint(config, context):
            model = getattr(context.model, 'module', context.model)  # inside a model of test-time augmentation
            weights = unwrapped(weights_for(model, _read(config.load_from).state_dict))
            check_weights(model, weights, config.load_from)
        return []
    backbone = find_backbone(context.model)
    if context.initial and backbone is not None:
        reports = {}
        for source in dict.fromkeys(source for _, source in weight_sources(config)):
            weights = _read(source).state_dict
            try:
                # A copy keeps what the state dict records of its grids.
                reports[source] = str(on_meta(backbone).fit_checkpoint(copy.copy(weights)))
            except (RuntimeError, ValueError) as error:
                raise CheckpointError(f'{source}: {error}') from error
        context.fitted = reports[context.initial]
    return []


def on_meta(module: nn.Module) -> nn.Module:
    """Returns a copy of a module on the meta device, which holds shapes only; no weights are copied."""
    memo = {id(value): nn.Parameter(value.to('meta'), value.requires_grad) for value in module.parameters()}
    memo.update({id(value): value.to('meta') for value in module.buffers()})
    return copy.deepcopy(module, memo)


def _read(source: str) -> Checkpoint:
    return read_checkpoint(source, trust_pickle=os.environ.get('MMLOCAT_TRUST_PICKLE') == '1')
