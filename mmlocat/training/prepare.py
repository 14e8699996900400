"""Builds a Runner's parts before the job begins, where mmengine builds them later, so that their errors show early."""

from __future__ import annotations

from typing import List

from mmengine.config import Config
from mmengine.runner import Runner

from .context import Context
from .iou_metric import count_class_areas
from .samples import check_samples


def build_model(config: Config, context: Context) -> List[str]:
    """Builds the model of a FlexibleRunner, whose strategy then uses it unchanged; a Runner already has its model."""
    runner = context.runner
    if isinstance(runner.model, dict):
        runner.model = runner.strategy.build_model(runner.model)
    return []


def build_training_data(config: Config, context: Context) -> List[str]:
    """Builds the loops of a training with their data.

    Raises:
        ValueError: The data have more classes than a head predicts.
    """
    runner = context.runner
    ranks_differ = bool((config.get('randomness') or {}).get('diff_rank_seed'))
    loader = runner.build_dataloader(runner._train_dataloader, seed=runner.seed, diff_rank_seed=ranks_differ)
    # Before the loop is built, because upstream mmengine starts the workers with it. The public properties build it.
    check_samples(context.model, loader.dataset, 'train')
    runner._train_dataloader = loader
    runner.train_loop  # noqa: B018 - builds it
    if runner._val_loop is not None:
        _check_loop(context, runner.val_loop, 'val')
    return []


def build_test_data(config: Config, context: Context) -> List[str]:
    """Builds the loop of a test with its data; see ``build_training_data``."""
    _check_loop(context, context.runner.test_loop, 'test')
    return []


def _check_loop(context: Context, loop, name: str) -> None:
    check_samples(context.model, loop.dataloader.dataset, name)
    count_class_areas(getattr(loop, 'evaluator', None))


def build_optimizer(config: Config, context: Context) -> List[str]:
    """Builds optimizer and schedulers in mmengine's order; a FlexibleRunner's strategy builds them with the model."""
    runner = context.runner
    if not isinstance(runner, Runner):
        return []
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    return []
