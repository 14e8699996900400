"""The total batch size is part of a recipe."""

from __future__ import annotations

from typing import List, Optional

from mmengine.config import Config


def total_batch(config: Config, processes: int) -> Optional[int]:
    """Returns images a step of the optimizer: batch size x processes x accumulated steps; None without a batch size.

    Args:
        config: A training config.
        processes: How many processes train.
    """
    batch = (config.get('train_dataloader') or {}).get('batch_size')
    if not isinstance(batch, int):
        return None
    return batch * processes * (config.get('optim_wrapper') or {}).get('accumulative_counts', 1)


def check_total_batch(config: Config, processes: int) -> List[str]:
    """Compares the total batch of this launch with the recipe's (``auto_scale_lr.base_batch_size``).

    With ``auto_scale_lr.enable`` the learning rate is scaled here and mmengine's own scaling is switched off: that
    one knows neither of accumulated gradients nor of the peak of a OneCycleLR.

    Args:
        config: A training config; changed in place when the learning rate is to be scaled.
        processes: How many processes train.

    Returns:
        Remarks for the user: none when the totals agree, or the recipe states none.

    Raises:
        ValueError: Scaling is asked for, and the recipe does not state its total batch; or the batch size is no
            positive number.
    """
    scale = config.get('auto_scale_lr') or {}
    loader = config.get('train_dataloader') or {}
    recipe = scale.get('base_batch_size')
    if recipe is None:
        if scale.get('enable'):
            raise ValueError('--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=...) in the config: '
                             'the total batch that its learning rate was chosen for')
        return []
    if 'batch_size' not in loader:
        return []
    if not isinstance(loader['batch_size'], int) or loader['batch_size'] < 1:
        raise ValueError(f'train_dataloader.batch_size must be a positive whole number, got {loader["batch_size"]!r}')
    steps = (config.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    total = total_batch(config, processes)
    if scale.get('enable'):
        config.merge_from_dict({'auto_scale_lr.enable': False})
    if total == recipe:
        return []
    rate = config.optim_wrapper.optimizer.lr
    scaled = rate * total / recipe
    size = f'Total batch {total} ({processes} x {loader["batch_size"]}{f" x {steps}" if steps > 1 else ""}) '
    if scale.get('enable'):
        config.optim_wrapper.optimizer.lr = scaled
        schedulers = config.get('param_scheduler') or []
        for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
            if scheduler.get('type') == 'OneCycleLR':
                scheduler['eta_max'] = scheduler['eta_max'] * total / recipe
        return [f'{size}instead of {recipe}: learning rate scaled from {rate:g} to {scaled:g}.']
    fitting, rest = divmod(recipe, processes * steps)
    batch = '' if rest or not fitting else f'train_dataloader.batch_size={fitting} by --cfg-options, or '
    return [f"{size}is not the recipe's {recipe}. To keep to the recipe: {batch}--auto-scale-lr "
            f'(learning rate {rate:g} -> {scaled:g}).']
