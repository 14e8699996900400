"""Reads off a training's config how long it trains and with which learning rates, and off its model what is frozen."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from torch import Tensor, nn

_EPOCH_LENGTH = 100  # iterations; where all count in epochs, rates are reported by their place in an epoch only


def training_length(config: Config) -> Tuple[int, str]:
    """Returns how long a config trains, and in which unit: 'epochs' or 'iterations'.

    Raises:
        ValueError: Its ``train_cfg`` states neither ``max_epochs`` nor ``max_iters``.
    """
    settings = config.get('train_cfg') or {}
    for unit, key in (('epochs', 'max_epochs'), ('iterations', 'max_iters')):
        if settings.get(key):
            return settings[key], unit
    raise ValueError('train_cfg states neither max_epochs nor max_iters: is this a config for testing alone?')


def learning_rates(config: Config, epoch_length: int = 100, multipliers: Sequence[float] = (1.0, )) -> Tensor:
    """Computes the learning rate of every iteration, by mmengine's schedulers, stepped as its Runner does it.

    Args:
        config: A training config.
        epoch_length: Iterations an epoch, for schedules that count in epochs.
        multipliers: One parameter group is made for each of these multiples of the optimizer's learning rate.

    Returns:
        Shape (iterations, groups), float64: the rate with which each iteration updates.

    Raises:
        ValueError: The config does not state how long it trains.
    """
    length, unit = training_length(config)
    iterations = length * epoch_length if unit == 'epochs' else length
    base = config.optim_wrapper.optimizer.lr
    # Without gradients a step of SGD changes nothing.
    optimizer = torch.optim.SGD(
        [dict(params=[nn.Parameter(torch.zeros(1))], lr=base * multiplier) for multiplier in multipliers], lr=base)
    schedulers = []
    for scheduler in _schedulers(config):
        end = iterations // epoch_length if scheduler.get('by_epoch', True) else iterations
        defaults = dict(end=end, optimizer=optimizer, epoch_length=epoch_length)
        schedulers.append(PARAM_SCHEDULERS.build(dict(scheduler), default_args=defaults))
    optimizer.step()  # schedulers expect a step before theirs
    rates = []
    for iteration in range(1, iterations + 1):
        rates.append([group['lr'] for group in optimizer.param_groups])
        for scheduler in schedulers:
            if not scheduler.by_epoch or (unit == 'epochs' and iteration % epoch_length == 0):
                scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


def _schedulers(config: Config) -> List[dict]:
    settings = config.get('param_scheduler') or []
    return [settings] if isinstance(settings, dict) else list(settings)


def needs_epoch_length(config: Config) -> bool:
    """Returns whether a training counts in epochs and a scheduler of it in iterations."""
    return training_length(config)[1] == 'epochs' and not all(
        scheduler.get('by_epoch', True) for scheduler in _schedulers(config))


def rates_in_words(config: Config, slowest: float = 1., epoch_length: Optional[int] = None) -> Tuple[str, str]:
    """Describes the learning rates of a training.

    Args:
        config: A training config.
        slowest: The smallest multiple of the optimizer's learning rate that a parameter has.
        epoch_length: Iterations an epoch; None if that is not known, and is assumed, in words where it matters.

    Returns:
        The first, highest and last rate of parameters with the multiple 1; and where the highest comes, after a rise:
        'epoch 20' or 'iteration 4,999', '' if the first rate is the highest.

    Raises:
        ValueError: The config does not state how long it trains.
    """
    length = epoch_length or _EPOCH_LENGTH
    base, slow = learning_rates(config, length, (1., slowest)).unbind(1)
    highest = int(base.argmax())
    by_epoch = training_length(config)[1] == 'epochs'
    place = f'epoch {highest / length:.4g}' if by_epoch else f'iteration {highest:,}'
    text = f'{base[0]:.4g} at first, highest {base[highest]:.4g} at {place}, {base[-1]:.4g} at last'
    if epoch_length is None and needs_epoch_length(config):
        text += f', assuming {length} iterations an epoch'
    if abs(slow[highest] - slowest * base[highest]) > 1e-6 * base[highest]:  # OneCycleLR has its own peak
        text += f'; the same for all: the schedule overrides the multiple {slowest:.4g} of the slowest parameters'
    return text, place if base[0] < base[highest] else ''


def frozen_parts(model: nn.Module, prefix: str = '') -> List[str]:
    """Lists the outermost parts that training does not change, of a model in training mode."""
    parameters = list(model.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        still = '' if any(part.training for part in model.modules()) else ', stays in evaluation mode'
        return [f'{prefix.rstrip(".")} ({sum(parameter.numel() for parameter in parameters):,}{still})']
    parts = [f'{prefix}{name} ({parameter.numel():,})' for name, parameter in model.named_parameters(recurse=False)
             if not parameter.requires_grad]
    for name, child in model.named_children():
        parts += frozen_parts(child, f'{prefix}{name}.')
    return parts
