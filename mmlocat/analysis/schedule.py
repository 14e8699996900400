"""Computes the learning rate of every iteration of a config, with mmengine's own schedulers."""

from __future__ import annotations

from copy import deepcopy
from typing import Sequence, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from torch import Tensor, nn


def training_length(config: Config, epoch_length: int) -> Tuple[int, bool]:
    """Returns how many iterations a config trains for, and whether it counts in epochs.

    Args:
        config: A training config.
        epoch_length: Iterations an epoch.

    Raises:
        ValueError: Its ``train_cfg`` states neither ``max_epochs`` nor ``max_iters``.
    """
    settings = config.get('train_cfg') or {}
    if settings.get('max_epochs'):
        return settings['max_epochs'] * epoch_length, True
    if settings.get('max_iters'):
        return settings['max_iters'], False
    raise ValueError('train_cfg states neither max_epochs nor max_iters: is this a config for testing alone?')


def learning_rates(config: Config, epoch_length: int = 100, multipliers: Sequence[float] = (1.0, )) -> Tensor:
    """Computes the learning rate of every iteration.

    The schedulers are built and stepped as mmengine's Runner does it.

    Args:
        config: A training config.
        epoch_length: Iterations an epoch, for schedules that count in epochs.
        multipliers: One parameter group is made for each of these multiples of the optimizer's learning rate.

    Returns:
        Shape (iterations, groups), float64: the rate with which each iteration updates.

    Raises:
        ValueError: The config has no learning rate, no length, or separate schedules for several optimizers.
    """
    base = ((config.get('optim_wrapper') or {}).get('optimizer') or {}).get('lr')
    if base is None:
        raise ValueError('the config has no optim_wrapper.optimizer.lr, so no learning rates to list')
    iterations, counts_epochs = training_length(config, epoch_length)
    # Without gradients a step of SGD changes nothing.
    optimizer = torch.optim.SGD(
        [dict(params=[nn.Parameter(torch.zeros(1))], lr=base * multiplier) for multiplier in multipliers], lr=base)
    settings = config.get('param_scheduler') or []
    if isinstance(settings, dict):
        if 'type' not in settings:
            raise ValueError(f'param_scheduler has schedules for several optimizers ({", ".join(settings)}); '
                             'only those of one can be listed')
        settings = [settings]
    schedulers = []
    for scheduler in settings:
        scheduler = deepcopy(scheduler)
        epochs = config.train_cfg.get('max_epochs', 1)
        scheduler.setdefault('end', epochs if scheduler.get('by_epoch', True) else iterations)
        defaults = dict(optimizer=optimizer, epoch_length=epoch_length)
        schedulers.append(PARAM_SCHEDULERS.build(scheduler, default_args=defaults))
    optimizer.step()  # schedulers expect a step before theirs
    rates = []
    for iteration in range(iterations):
        rates.append([group['lr'] for group in optimizer.param_groups])
        ends_epoch = counts_epochs and (iteration + 1) % epoch_length == 0
        for scheduler in schedulers:
            if ends_epoch or not scheduler.by_epoch:
                scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)
