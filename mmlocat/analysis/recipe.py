"""Reports what a config amounts to before it runs: what it trains, how and for how long, and from which weights."""

from __future__ import annotations

import argparse
import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmlocat.config import load_config
from mmlocat.models.building import build_model
from mmlocat.training.context import Context
from mmlocat.training.initial_weights import initial_checkpoint, over_in_words, over_initial, set_initial_checkpoint
from mmlocat.training.recipe import frozen_parts, rates_in_words, training_length
from mmlocat.utils.arguments import add_config_arguments
from mmlocat.utils.tables import Table

_NAMES = 3  # of the parameters of a group


@dataclass
class ParameterGroup:
    """Trained parameters that the optimizer treats alike."""

    lr_multiplier: float  # factor on the optimizer's learning rate
    weight_decay: float
    depth: Optional[int]  # of the layer in layer-wise decay, 0 for the stem; None without such decay
    names: List[str] = field(default_factory=list)
    parameters: int = 0  # how many numbers they hold


def parameter_groups(model: nn.Module, config: Config) -> List[ParameterGroup]:
    """Lists what the optimizer updates, grouping parameters that it treats alike.

    Args:
        model: The config's model.
        config: A training config.

    Returns:
        The groups, the deepest and fastest last. Frozen parameters are in none.

    Raises:
        ValueError: The config names no optimizer and learning rate, or several.
    """
    wrapper = config.get('optim_wrapper') or {}
    if 'lr' not in (wrapper.get('optimizer') or {}):
        raise ValueError('the config has no optim_wrapper.optimizer with an lr: either it is for testing alone, or it '
                         'has several optimizers, which this tool does not list')
    # A wrapper of the optimizer does not change the groups, and that of mixed precision would need a GPU.
    kept = {key: wrapper[key] for key in ('optimizer', 'paramwise_cfg', 'constructor') if key in wrapper}
    with quiet_mmengine():
        optimizer = build_optim_wrapper(model, dict(type='OptimWrapper', **kept)).optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    base = wrapper['optimizer']['lr']
    groups: Dict[Tuple, ParameterGroup] = {}
    for settings in optimizer.param_groups:
        key = (settings.get('layer_id'), settings['lr'] / base, settings.get('weight_decay', 0.))
        for parameter in settings['params']:
            if parameter.requires_grad:
                group = groups.setdefault(key, ParameterGroup(key[1], key[2], key[0]))
                group.names.append(names[id(parameter)])
                group.parameters += parameter.numel()
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0] or 0, key[1], key[2]))]


@contextmanager
def quiet_mmengine() -> Iterator[None]:
    """Stops the libraries from logging a line for every parameter as they build: tables report the same in short."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def describe(config: Config) -> Tuple[Dict[str, str], List[ParameterGroup]]:
    """Finds out what a config will do; builds its model and optimizer, and reads neither data nor weights.

    Args:
        config: A training config.

    Returns:
        Lines by topic, in the order to read, and the parameter groups that the optimizer updates.

    Raises:
        ValueError: The config has no training recipe.
    """
    with quiet_mmengine():
        model = build_model(config)
    model.train()
    groups = parameter_groups(model, config)
    total = sum(parameter.numel() for parameter in model.parameters())
    frozen = frozen_parts(model)
    length, unit = training_length(config)
    every = f', validation every {config.train_cfg.get("val_interval", 1):,}'
    facts = {
        'Initial weights': _initial_weights(config, bool(frozen)),
        'Parameters': f'{sum(group.parameters for group in groups):,} trained of {total:,}',
        'Frozen': '; '.join(frozen) or 'nothing',
        'Total batch': _total_batch(config),
        'Length': f'{length:,} {unit}' + (every if config.get('val_dataloader') else ', no validation'),
        'Learning rate': rates_in_words(config, min((group.lr_multiplier for group in groups), default=1.))[0],
        'From the config': Config(dict(optim_wrapper=config.optim_wrapper,
                                       param_scheduler=config.get('param_scheduler'))).pretty_text.strip(),
    }
    return facts, groups


def _show(title: str, facts: Dict[str, str], groups: List[ParameterGroup]) -> None:
    """Prints what ``describe`` found."""
    table = Table(['topic', 'what the config says'], title, words=2)
    for topic, text in facts.items():
        table.add(topic, text)
    table.print()
    table = Table(['such as', 'lr x', 'weight decay', 'depth', 'tensors', 'parameters'], 'What the optimiser updates')
    for group in groups:
        some = ', '.join(group.names[:_NAMES]) + (' ...' if len(group.names) > _NAMES else '')
        table.add(some, f'{group.lr_multiplier:.4g}', f'{group.weight_decay:g}', group.depth, len(group.names),
                  f'{group.parameters:,}')
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
                                     'frozen parts, initial weights.')
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    config = load_config(args.config, args.cfg_options)
    set_initial_checkpoint(config, Context(changed=args.cfg_options or {}))
    return partial(_show, Path(args.config).name, *describe(config))


def _initial_weights(config: Config, frozen: bool) -> str:
    source = initial_checkpoint(config)
    if source:
        return '\n'.join(filter(None, [source, over_in_words(over_initial(config))]))
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
