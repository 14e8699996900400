"""Extends mmengine's Runners by checks before a job, exact resumption, atomic saving and a record of each result.

``runner_type = 'CheckedRunner'`` and ``custom_imports = dict(imports=['mmlocat.training'])`` in a config select them in
the training tools of MMSegmentation and MMPretrain; the tools of mmlocat always use them.
"""

from __future__ import annotations

import copy
import logging
from typing import Any, Dict, Optional, Union

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS, LOOPS, RUNNERS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, FlexibleRunner, Runner
from torch import Generator, nn
from torch.utils.data import DataLoader

from mmlocat.config import resolve_type

from .checks import run_checks
from .context import BUILD, TEST, TRAIN, Context, begin_reading_once, changed_since_file, end_reading_once
from .dry_run import show_plan
from .fsdp import WholeMetadataHook
from .hardware import world_size
from .hook_state import HookStateHook
from .interrupt import EpochLoop, MissedValidationHook, StopHook, shield_workers
from .load_from import BareViTHook
from .nonfinite import NonFiniteHook
from .provenance import RecordHook
from .recompute import sound_recomputation
from .saving import AtomicCheckpointHook, save_atomically
from .screen import IN_FILE, introduction, keep_pages_in_file, outlook
from .seeding import StepSeedHook, seeded


class ChecksMixin:
    """Adds checks, seeding by sample, records and safety hooks to mmengine's ``Runner`` and ``FlexibleRunner``."""

    def __init__(self, *args: Any, train_dataloader: Union[DataLoader, dict, None] = None, **kwargs: Any) -> None:
        if isinstance(train_dataloader, dict):  # wrapped here, so that the config stays as the user wrote it
            train_dataloader = seeded(train_dataloader)
        super().__init__(*args, train_dataloader=train_dataloader, **kwargs)
        self.context = Context(processes=self.world_size, runner=self)
        self._stop = StopHook()

    @classmethod
    def from_cfg(cls, cfg: Union[Config, dict], job: Optional[str] = None) -> Runner:
        """Builds a Runner after the checks of its config.

        Args:
            cfg: A config of MMPretrain, MMSegmentation or mmengine; left as it is.
            job: 'train' or 'test', if known: checks that need only the config then run before anything is built or
                written.

        Returns:
            The Runner.

        Raises:
            FileNotFoundError: A checkpoint does not exist.
            RuntimeError: The machine cannot do what the config asks for, or weights or data cannot be used.
            ValueError: The config is wrong; the message has the key, the value and what to change.
        """
        config = copy.deepcopy(cfg) if isinstance(cfg, Config) else Config(copy.deepcopy(cfg))
        context = Context(job, world_size(config.get('launcher', 'none')), changed=changed_since_file(config))
        begin_reading_once()
        try:
            run_checks(BUILD, config, context)
            runner = super().from_cfg(config)
        except BaseException:
            end_reading_once()
            raise
        runner.context, context.runner = context, runner
        if not context.options['dry_run']:
            for line in introduction(runner):
                runner.logger.info(line)
        for remark in context.remarks:
            runner.logger.info(remark, extra=IN_FILE)  # the screen has them
        for hook in (BareViTHook(), NonFiniteHook(), WholeMetadataHook(), RecordHook(context),
                     HookStateHook(context.options['trust_pickle'])):
            runner.register_hook(hook)
        # The attention's messages (its choice of a back-end) go into the same log.
        logger = logging.getLogger('mmlocat')
        logger.handlers, logger.propagate = list(runner.logger.handlers), False
        logger.setLevel(logging.INFO)
        return runner

    def _log_env(self, *args: Any) -> None:
        """Logs environment and config, as both of mmengine's Runners do; on the screen some lines stand for them."""
        keep_pages_in_file(self.logger)
        super()._log_env(*args)

    def prepare_training(self) -> None:
        """Builds and checks what a training needs, once; ``train`` calls it if the caller has not.

        Raises:
            FileNotFoundError: A checkpoint does not exist.
            RuntimeError: Weights or data are missing, damaged or do not fit; or another training is in the work dir.
            ValueError: The config is wrong.
        """
        if self._check(TRAIN):
            for hook in (self._stop, StepSeedHook(), MissedValidationHook()):
                self.register_hook(hook)

    def prepare_test(self) -> None:
        """Builds and checks what a test needs, once; ``test`` calls it if the caller has not."""
        self._check(TEST)

    def _check(self, moment: str) -> bool:
        """Runs the checks of a moment; returns whether they had not run before."""
        before = len(self.context.done)
        try:
            run_checks(moment, self.cfg, self.context)
        except BaseException:
            end_reading_once()
            raise
        return len(self.context.done) > before

    def train(self) -> nn.Module:
        """Trains, and returns the model; in a dry run, shows what it would do instead."""
        self.prepare_training()
        if self.context.options['dry_run']:
            show_plan(self, self.context)
            return self.model
        self.logger.info(outlook(self))
        try:
            with sound_recomputation():
                return super().train()
        finally:
            self._stop.restore()

    def test(self) -> Dict[str, float]:
        """Tests, and returns the metrics."""
        self.prepare_test()
        return super().test()

    def load_or_resume(self) -> None:
        """Loads the checkpoint, if there is one, then drops the checkpoints that were kept for the checks."""
        super().load_or_resume()
        end_reading_once()

    @staticmethod
    def build_dataloader(dataloader: Union[DataLoader, dict], seed: Optional[int] = None,
                         diff_rank_seed: bool = False) -> DataLoader:
        """Builds a data loader with its own random state, and with workers that survive a stopping signal."""
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        if loader is not dataloader:
            # It draws the workers' seeds; by default they come from the model's random state.
            loader.generator = Generator().manual_seed(seed or 0)
            if loader.num_workers:
                loader.worker_init_fn = shield_workers(loader.worker_init_fn, loader.multiprocessing_context)
        return loader

    def build_train_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        """Builds the training loop; an epoch-based one can resume in the middle of an epoch."""
        if isinstance(loop, dict) and (loop.get('by_epoch') or resolve_type(loop, LOOPS) is EpochBasedTrainLoop):
            loop = dict({key: value for key, value in loop.items() if key != 'by_epoch'}, type=EpochLoop)
        return super().build_train_loop(loop)


@RUNNERS.register_module()
class CheckedRunner(ChecksMixin, Runner):
    """Checks a job before mmengine's Runner starts it; trainings can be stopped at any time and resumed exactly.

    It takes the same configs. ``checks = dict(...)`` in one may hold ``allow_random_backbone`` (False: a frozen
    backbone needs weights), ``data`` (True: check the data before a training), ``dry_run`` (False: True shows what a
    training would do, and trains nothing) and ``trust_pickle`` (False: code in a checkpoint does not run).
    ``mmlocat.training.checks.CHECKS`` lists the checks.
    """

    def register_hook(self, hook: Union[Hook, dict], priority: Union[str, int, None] = None) -> None:
        """Registers a hook; replaces mmengine's ``CheckpointHook`` by ``AtomicCheckpointHook``."""
        if isinstance(hook, dict) and resolve_type(hook, HOOKS) is CheckpointHook:
            hook = {**hook, 'type': AtomicCheckpointHook}
        super().register_hook(hook, priority)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Saves a checkpoint atomically; on a remote file system, as mmengine does."""
        if '://' in out_dir or any(args[:1]) or kwargs.get('backend_args') or kwargs.get('file_client_args'):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
        else:
            save_atomically(super().save_checkpoint, self.work_dir, out_dir, filename, *args, **kwargs)


@RUNNERS.register_module()
class CheckedFlexibleRunner(ChecksMixin, FlexibleRunner):
    """Adds the checks of ``CheckedRunner`` to mmengine's FlexibleRunner, for FSDP; its strategy saves, in place."""


def runner_class(config: Config) -> type:
    """Returns the Runner class that a config names, with checks added.

    Args:
        config: If it names mmengine's ``Runner`` or ``FlexibleRunner``, or none, the class is our checked one; a custom
            Runner class gets the checks added.

    Raises:
        ValueError: ``runner_type`` names no class derived from mmengine's Runners.
    """
    name = config.get('runner_type', 'Runner')
    kind = resolve_type(name, RUNNERS, config.get('default_scope'))
    for checked, plain in ((CheckedRunner, Runner), (CheckedFlexibleRunner, FlexibleRunner)):
        if isinstance(kind, type) and issubclass(kind, plain):
            if issubclass(kind, ChecksMixin):
                return kind
            return checked if kind is plain else type(f'Checked{kind.__name__}', (checked, kind), {})
    raise ValueError(f'runner_type={name!r} is neither a Runner nor a FlexibleRunner of mmengine; leave it out, or is '
                     'the module that registers it in custom_imports?')
