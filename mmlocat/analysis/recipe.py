"""Reports what a config will do: what it trains and how, for how long, on which data, and from which weights."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from mmengine.config import Config

from mmlocat.config import add_config_arguments, load_config
from mmlocat.models.building import build_model
from mmlocat.training.context import Context
from mmlocat.training.initial_weights import initial_checkpoint, set_initial_checkpoint
from mmlocat.utils.tables import Table

from .groups import ParameterGroup, frozen_parts, parameter_groups, quiet_mmengine
from .schedule import learning_rates, training_length

_EPOCH_LENGTH = 100  # iterations; in a schedule by epochs, rates are reported by their place in an epoch only


@dataclass
class Recipe:
    """A report of what a config will do.

    Args:
        title: Name of the config.
        facts: Lines by topic, in the order to read.
        groups: The parameter groups that the optimizer updates.
        augmentation: A line for each transform of the training images.
    """

    title: str
    facts: Dict[str, str]
    groups: List[ParameterGroup]
    augmentation: List[str]


def describe(config: Config, title: str) -> Recipe:
    """Finds out what a config will do; builds its model and optimizer, and reads neither data nor weights.

    Args:
        config: A training config.
        title: The name to report it under.

    Returns:
        Its recipe.

    Raises:
        ValueError: The config has no training recipe.
    """
    with quiet_mmengine():
        model = build_model(config)
    model.train()
    groups = parameter_groups(model, config)
    total = sum(parameter.numel() for parameter in model.parameters())
    frozen = [f'{name} ({count:,}{", stays in evaluation mode" if still else ""})'
              for name, count, still in frozen_parts(model)]
    facts = {
        'Model': _model(config),
        'Initial weights': _initial_weights(config, bool(frozen)),
        'Parameters': f'{sum(group.parameters for group in groups):,} trained of {total:,}',
        'Frozen': '; '.join(frozen) or 'nothing',
        'Total batch': _total_batch(config),
        'Length': _length(config),
        'Optimiser': _optimizer(config),
        'Schedule': '\n'.join(_call(scheduler) for scheduler in _as_list(config.get('param_scheduler'))) or 'constant',
        'Learning rate': _rates(config, groups),
        'Images': _images(config),
    }
    augments = (config.model.get('train_cfg') or {}).get('augments')
    if augments:
        facts['Batches'] = 'one of ' + ', '.join(_call(augment) for augment in _as_list(augments))
    mode = (config.model.get('test_cfg') or {}).get('mode')
    if mode:
        facts['Testing'] = f'mode={mode}' + ('; --tta averages scales and flips' if 'tta_pipeline' in config else '')
    return Recipe(title, facts, groups, [_call(step) for step in _training_pipeline(config)])


def tables(recipe: Recipe, names: int = 3) -> List[Table]:
    """Returns a recipe as tables.

    Args:
        recipe: The report.
        names: How many parameters of each group to name.
    """
    facts = Table(['topic', 'what the config says'], recipe.title, words=2)
    for topic, text in recipe.facts.items():
        facts.add(topic, text)
    groups = Table(['such as', 'lr x', 'weight decay', 'depth', 'tensors', 'parameters'], 'What the optimiser updates')
    for group in recipe.groups:
        some = ', '.join(group.names[:names]) + (' ...' if len(group.names) > names else '')
        groups.add(some, f'{group.lr_multiplier:.4g}', f'{group.weight_decay:g}', group.depth, len(group.names),
                   f'{group.parameters:,}')
    steps = Table(['step', 'of training images'], 'Training images', words=2)
    for number, step in enumerate(recipe.augmentation, 1):
        steps.add(number, step)
    return [facts, groups, steps]


def show(recipe: Recipe, names: int = 3) -> None:
    """Prints a recipe; see ``tables``."""
    for table in tables(recipe, names):
        table.print()


def recipe_job(argv: Optional[List[str]] = None) -> Callable[[], None]:
    """Reads a config and finds out what it will do.

    Args:
        argv: The arguments of ``tools/analysis/recipe.py``; those of the process by default.

    Returns:
        A function that prints it.

    Raises:
        FileNotFoundError: The config does not exist.
        ValueError: It is invalid, or has no training recipe.
    """
    parser = argparse.ArgumentParser(description='Tell what a config will do: parameter groups, batch, schedule, '
                                     'frozen parts, augmentation, initial weights.')
    add_config_arguments(parser)
    parser.add_argument('--names', type=int, default=3, help='how many parameters of a group to name (default: 3)')
    args = parser.parse_args(argv)
    config = load_config(args.config, args.cfg_options)
    set_initial_checkpoint(config, Context(changed=args.cfg_options or {}))
    return partial(show, describe(config, Path(args.config).name), names=args.names)


def _call(settings: Any) -> str:
    """Formats a config dict with a ``type`` as a call, ``Type(key=value)``, nested ones included."""
    if isinstance(settings, dict):
        inner = ', '.join(f'{key}={_call(value)}' for key, value in settings.items() if key != 'type')
        if 'type' not in settings:
            return f'({inner})'
        name = settings['type'] if isinstance(settings['type'], str) else settings['type'].__name__
        return f'{name}({inner})' if inner else name
    if isinstance(settings, (list, tuple)):
        return f'[{", ".join(_call(value) for value in settings)}]'
    return f'{settings:g}' if isinstance(settings, float) else str(settings)


def _as_list(settings: Any) -> list:
    return [settings] if isinstance(settings, dict) else list(settings or [])


def _model(config: Config) -> str:
    parts = [f'{config.model.type}']
    for name in ('backbone', 'neck', 'head', 'decode_head', 'auxiliary_head'):
        for part in _as_list(config.model.get(name)):
            kept = {key: part[key] for key in ('type', 'arch', 'gaug', 'drop_path_rate', 'num_classes') if key in part}
            parts.append(f'{name} {_call(kept)}')
    return '\n'.join(parts)


def _initial_weights(config: Config, frozen: bool) -> str:
    source = initial_checkpoint(config)
    if source:
        return source
    if frozen:
        return 'none: training will ask for --cfg-options checkpoint=FILE'
    return 'random' + (', unless --cfg-options checkpoint=FILE gives others' if 'checkpoint' in config else '')


def _total_batch(config: Config) -> str:
    total = (config.get('auto_scale_lr') or {}).get('base_batch_size')
    own = (config.get('train_dataloader') or {}).get('batch_size')
    steps = config.optim_wrapper.get('accumulative_counts', 1)
    each = f'{own} a process' + (f' x {steps} accumulated' if steps > 1 else '')
    if total is None:
        return f'not stated by the recipe; {each}'
    if not own or total % (own * steps):
        return f'{total}; {each}, which does not divide it'
    return f'{total}: {each}, {total // (own * steps)} processes'


def _length(config: Config) -> str:
    total, counts_epochs = training_length(config, 1)
    every = config.train_cfg.get('val_interval', 1)
    text = f'{total:,} {"epochs" if counts_epochs else "iterations"}'
    return text + (f', validation every {every:,}' if config.get('val_dataloader') else ', no validation')


def _optimizer(config: Config) -> str:
    wrapper = config.optim_wrapper
    others = {key: value for key, value in wrapper.items()
              if key not in ('optimizer', 'paramwise_cfg', 'constructor')}
    lines = [_call(wrapper.optimizer), f'in {_call(others)}']
    for key in ('constructor', 'paramwise_cfg'):
        if wrapper.get(key):
            lines.append(f'{key}: {_call(wrapper[key])}')
    return '\n'.join(lines)


def _rates(config: Config, groups: List[ParameterGroup]) -> str:
    slowest = min((group.lr_multiplier for group in groups), default=1.)
    rates = learning_rates(config, _EPOCH_LENGTH, (1., slowest))
    base, slow = rates[:, 0], rates[:, 1]
    highest = int(base.argmax())
    by_epoch = bool(config.train_cfg.get('max_epochs'))
    place = f'epoch {highest / _EPOCH_LENGTH:.4g}' if by_epoch else f'iteration {highest:,}'
    text = f'{base[0]:.4g} at first, highest {base[highest]:.4g} at {place}, {base[-1]:.4g} at last'
    if abs(slow[highest] - slowest * base[highest]) > 1e-6 * base[highest]:  # OneCycleLR has its own peak
        text += f'; the same for all: the schedule overrides the multiple {slowest:.4g} of the slowest parameters'
    return text


def _images(config: Config) -> str:
    settings = config.model.get('data_preprocessor') or config.get('data_preprocessor') or {}
    kept = {key: settings[key] for key in ('mean', 'std', 'size') if settings.get(key) is not None}
    return ', '.join(f'{key} {_call(value)}' for key, value in kept.items()) or 'not normalised'


def _training_pipeline(config: Config) -> list:
    dataset = (config.get('train_dataloader') or {}).get('dataset') or {}
    while 'dataset' in dataset:  # wrapped, as by RepeatDataset
        dataset = dataset['dataset']
    return dataset.get('pipeline') or []
