"""Builds mmengine's Runner so that bad input shows before the first iteration, and remarks show first."""

from __future__ import annotations

import logging
import sys
from typing import List

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .bare_vit import BareViTHook
from .hardware import adapt_to_hardware, init_cpu_processes, is_main_process
from .model_check import check_model
from .samples import check_samples


class RemarkingRunner(Runner):
    """mmengine's Runner, whose log begins with remarks; ``config['remarks']`` holds them."""

    def _log_env(self, env_cfg: dict) -> None:
        for remark in self.cfg.get('remarks', []):
            self.logger.info(remark)
        super()._log_env(env_cfg)


def build_runner(config: Config, remarks: List[str], training: bool = True) -> Runner:
    """Builds the runner, after adapting the config to this machine.

    Args:
        config: Of MMPretrain or MMSegmentation.
        remarks: What the user should read first, on the console and in the log.
        training: Whether the model will be trained.

    Returns:
        The runner, model included.

    Raises:
        ValueError: The parts of the model do not fit together.
    """
    config.remarks = adapt_to_hardware(config, config.launcher) + remarks
    check_model(config, training)
    if is_main_process():
        for remark in config.remarks:
            print(f'mmlocat: {remark}', file=sys.stderr, flush=True)
    init_cpu_processes(config.launcher)
    runner = RUNNERS.build(config) if 'runner_type' in config else RemarkingRunner.from_cfg(config)
    runner.register_hook(BareViTHook(), priority='VERY_HIGH')
    # What the attention says (its choice of a back-end) belongs into the same log.
    logger = logging.getLogger('mmlocat')
    logger.handlers, logger.propagate = list(runner.logger.handlers), False
    logger.setLevel(logging.INFO)
    return runner


def build_training_data(runner: Runner) -> None:
    """Builds the loops now, so that missing data show before training; ``Runner.train`` takes them as they are.

    Raises:
        ValueError: The data have more classes than a head predicts.
    """
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    check_samples(runner, runner._train_loop, 'train')
    if runner._val_loop is not None:
        runner._val_loop = runner.build_val_loop(runner._val_loop)
        check_samples(runner, runner._val_loop, 'val')


def build_test_data(runner: Runner) -> None:
    """Builds the test loop now, for the same reason."""
    runner._test_loop = runner.build_test_loop(runner._test_loop)
    check_samples(runner, runner._test_loop, 'test')


def build_optimizer(runner: Runner) -> None:
    """Builds optimizer and schedulers now, in MMEngine's order; ``Runner.train`` takes them as they are."""
    if not isinstance(runner, Runner):
        return  # FlexibleRunner's strategy builds them together with the model
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if (runner.auto_scale_lr or {}).get('enable'):
        return  # MMEngine scales between the two
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
