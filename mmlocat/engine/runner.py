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
from .nonfinite import NonFiniteHook
from .seeding import build_seeded_loader, keep_random_state


class RemarkingRunner(Runner):
    """mmengine's Runner, whose log begins with remarks; ``config['remarks']`` holds them."""

    def _log_env(self, env_cfg: dict) -> None:
        for remark in self.cfg.get('remarks', []):
            self.logger.info(remark)
        super()._log_env(env_cfg)


def build_runner(config: Config, remarks: List[str]) -> Runner:
    """Builds the runner, after adapting the config to this machine.

    Args:
        config: Of MMPretrain or MMSegmentation.
        remarks: What the user should read first, on the console and in the log.

    Returns:
        The runner, model included.
    """
    config.remarks = adapt_to_hardware(config, config.launcher) + remarks
    if is_main_process():
        for remark in config.remarks:
            print(f'mmlocat: {remark}', file=sys.stderr, flush=True)
    init_cpu_processes(config.launcher)
    runner = RUNNERS.build(config) if 'runner_type' in config else RemarkingRunner.from_cfg(config)
    runner.register_hook(BareViTHook(), priority='VERY_HIGH')
    runner.register_hook(NonFiniteHook())
    # What the attention says (its choice of a back-end) belongs into the same log.
    logger = logging.getLogger('mmlocat')
    logger.handlers, logger.propagate = list(runner.logger.handlers), False
    logger.setLevel(logging.INFO)
    return runner


def build_training_data(runner: Runner) -> None:
    """Builds the loops now, so that missing data show before training; ``Runner.train`` takes them as they are.

    Each training sample draws its augmentations from a random stream of its own, see ``mmlocat.engine.seeding``.
    """
    runner._train_dataloader = build_seeded_loader(runner, runner._train_dataloader)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    if runner._val_loop is not None:
        runner._val_loop = runner.build_val_loop(runner._val_loop)
        keep_random_state([runner._val_loop.dataloader], runner.seed)


def build_test_data(runner: Runner) -> None:
    """Builds the test loop now, for the same reason."""
    runner._test_loop = runner.build_test_loop(runner._test_loop)
