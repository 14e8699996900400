"""Compares the total batch size of a launch with the recipe's, and scales the learning rate on request."""

from __future__ import annotations

from typing import List, Optional

from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from .context import Context
from .resolve import resolve_type


def total_batch(config: Config, processes: int) -> Optional[int]:
    """Returns the images per optimizer step: batch size x processes x accumulated steps; None without a batch size.

    Args:
        config: A training config.
        processes: Number of training processes.
    """
    batch = (config.get('train_dataloader') or {}).get('batch_size')
    if not isinstance(batch, int):
        return None
    return batch * processes * (config.get('optim_wrapper') or {}).get('accumulative_counts', 1)


def scale_learning_rate(config: Config, context: Context) -> List[str]:
    """Scales the learning rate to the total batch of this launch, if ``auto_scale_lr.enable`` asks for it.

    mmengine's own scaling, which ignores accumulated gradients and the peak of a OneCycleLR, is switched off, and
    ``auto_scale_lr.base_batch_size`` is set to the total batch that the new rate is for.

    Raises:
        ValueError: The recipe does not state its total batch.
    """
    scale = config.get('auto_scale_lr') or {}
    total = total_batch(config, context.processes)
    if not scale.get('enable'):
        return []
    recipe = scale.get('base_batch_size')
    if recipe is None:
        raise ValueError('--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=...) in the config: '
                         'the total batch that its learning rate was chosen for')
    config.merge_from_dict({'auto_scale_lr.enable': False})
    if total is None or total == recipe:
        return []
    config.auto_scale_lr.base_batch_size = total
    rate = config.optim_wrapper.optimizer.lr
    config.optim_wrapper.optimizer.lr = rate * total / recipe
    schedulers = config.get('param_scheduler') or []
    for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
        kind = resolve_type(scheduler, PARAM_SCHEDULERS, config.get('default_scope'))
        if getattr(kind, '__name__', None) == 'OneCycleLR':
            scheduler['eta_max'] = scheduler['eta_max'] * total / recipe
    return [f'{_size(config, context)}instead of {recipe}: learning rate scaled from {rate:g} to '
            f'{config.optim_wrapper.optimizer.lr:g}.']


def compare_total_batch(config: Config, context: Context) -> List[str]:
    """Adds a remark if the total batch of this launch is not the recipe's (``auto_scale_lr.base_batch_size``)."""
    recipe = (config.get('auto_scale_lr') or {}).get('base_batch_size')
    total = total_batch(config, context.processes)
    if recipe is None or total in (None, recipe):
        return []
    rate = config.optim_wrapper.optimizer.lr
    steps = (config.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    fitting, rest = divmod(recipe, context.processes * steps)
    batch = '' if rest or not fitting else f'train_dataloader.batch_size={fitting} by --cfg-options, or '
    return [f"{_size(config, context)}is not the recipe's {recipe}. To keep to the recipe: {batch}--auto-scale-lr "
            f'(learning rate {rate:g} -> {rate * total / recipe:g}).']


def _size(config: Config, context: Context) -> str:
    steps = config.optim_wrapper.get('accumulative_counts', 1)
    return (f'Total batch {total_batch(config, context.processes)} ({context.processes} x '
            f'{config.train_dataloader.batch_size}{f" x {steps}" if steps > 1 else ""}) ')
