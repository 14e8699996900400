"""Lists the parameter groups that a config's optimizer updates, and the parts of a model that are frozen."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Optional, Tuple

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from torch import nn


@dataclass
class ParameterGroup:
    """Trained parameters that the optimizer treats alike.

    Args:
        lr_multiplier: Factor on the optimizer's learning rate.
        weight_decay: As the optimizer applies it.
        depth: Depth of the layer in layer-wise decay, 0 for the stem; None without such decay.
        names: Names of the parameters.
        parameters: How many numbers they hold.
    """

    lr_multiplier: float
    weight_decay: float
    depth: Optional[int]
    names: List[str] = field(default_factory=list)
    parameters: int = 0


def parameter_groups(model: nn.Module, config: Config) -> List[ParameterGroup]:
    """Lists what the optimizer updates, grouping parameters that it treats alike.

    Args:
        model: The config's model.
        config: A training config.

    Returns:
        The groups, the deepest and fastest last. Frozen parameters are in none.

    Raises:
        ValueError: The config names no optimizer, or more than one.
    """
    wrapper = config.get('optim_wrapper') or {}
    if 'optimizer' not in wrapper:
        raise ValueError('the config has no optim_wrapper.optimizer: either it is for testing alone, or it has several '
                         'optimizers, which this tool does not list')
    # A wrapper of the optimizer does not change the groups, and that of mixed precision would need a GPU.
    kept = {key: deepcopy(wrapper[key]) for key in ('optimizer', 'paramwise_cfg', 'constructor') if key in wrapper}
    with quiet_mmengine():
        optimizer = build_optim_wrapper(model, dict(type='OptimWrapper', **kept)).optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    base = wrapper['optimizer'].get('lr') or optimizer.defaults['lr']
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


def frozen_parts(model: nn.Module, prefix: str = '') -> List[Tuple[str, int, bool]]:
    """Lists the outermost parts of a model that training does not change.

    Args:
        model: A model in training mode.
        prefix: Prefix of the names, ending in a dot.

    Returns:
        Name, number of parameters, and whether it stays in evaluation mode, for each.
    """
    parameters = list(model.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        count = sum(parameter.numel() for parameter in parameters)
        return [(prefix.rstrip('.') or 'the whole model', count, not any(part.training for part in model.modules()))]
    parts = [(prefix + name, parameter.numel(), False) for name, parameter in model.named_parameters(recurse=False)
             if not parameter.requires_grad]
    for name, child in model.named_children():
        parts += frozen_parts(child, f'{prefix}{name}.')
    return parts
