"""Builds mmengine's Runner so that bad input shows before the first iteration, and remarks show first."""

from __future__ import annotations

import logging
import sys
from typing import Any, Dict, List, Optional, Union

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmlocat.training.bare_vit import BareViTHook

from .class_iou import count_class_areas
from .determinism import check_determinism, prepare_determinism
from .fsdp import WholeMetadataHook
from .hardware import adapt_to_hardware, check_sharding, init_cpu_processes, is_main_process
from .interrupt import EpochLoop, StopHook, WorkerShield
from .model_check import check_model
from .nonfinite import NonFiniteHook
from .processes import MeanLossHook, note_log
from .recompute import check_recomputed, sound_recomputation
from .samples import check_samples
from .saving import AtomicCheckpointHook, save_atomically
from .seeding import build_seeded_loader, keep_random_state
from .work_dir import claim_work_dir


class RemarkingRunner(Runner):
    """mmengine's Runner, whose log begins with remarks (``config['remarks']``) and whose trainings can be interrupted.

    See ``mmlocat.training.saving`` and ``mmlocat.training.interrupt``.
    """

    def _log_env(self, env_cfg: dict) -> None:
        for remark in self.cfg.get('remarks', []):
            self.logger.info(remark)
        super()._log_env(env_cfg)

    def register_default_hooks(self, hooks: Optional[Dict[str, Union[Hook, dict]]] = None) -> None:
        """Registers mmengine's default hooks, with checkpoints written atomically."""
        hooks = dict(hooks or {})
        checkpoint = hooks.get('checkpoint', dict(type='CheckpointHook', interval=1))
        if isinstance(checkpoint, dict) and checkpoint.get('type') == 'CheckpointHook':
            hooks['checkpoint'] = dict(checkpoint, type=AtomicCheckpointHook)
        super().register_default_hooks(hooks)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Saves a checkpoint whole or not at all; on a remote file system, as mmengine does."""
        if '://' in out_dir or any(args[:1]) or kwargs.get('backend_args') or kwargs.get('file_client_args'):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
        else:
            save_atomically(super().save_checkpoint, self.work_dir, out_dir, filename, *args, **kwargs)

    def build_train_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        """Builds the training loop; epochs can go on in their middle."""
        if isinstance(loop, dict) and (loop.get('by_epoch') or loop.get('type') == 'EpochBasedTrainLoop'):
            loop = dict({key: value for key, value in loop.items() if key != 'by_epoch'}, type=EpochLoop)
        return super().build_train_loop(loop)

    @staticmethod
    def build_dataloader(dataloader: Union[DataLoader, dict], seed: Optional[int] = None,
                         diff_rank_seed: bool = False) -> DataLoader:
        """Builds a data loader, whose workers outlive the signals that stop a training."""
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        if loader is not dataloader and loader.num_workers:
            loader.worker_init_fn = WorkerShield(loader.worker_init_fn, loader.multiprocessing_context)
        return loader

    def train(self) -> nn.Module:
        """Trains, and returns the model."""
        try:
            with sound_recomputation():
                return super().train()
        finally:
            for hook in self.hooks:
                if isinstance(hook, StopHook):
                    hook.restore()


def build_runner(config: Config, remarks: List[str], training: bool = True) -> Runner:
    """Builds the runner, after adapting the config to this machine.

    Args:
        config: Of MMPretrain or MMSegmentation.
        remarks: What the user should read first, on the console and in the log.
        training: Whether the model will be trained.

    Returns:
        The runner; mmengine's Runner has built the model, its FlexibleRunner builds it when training begins.

    Raises:
        RuntimeError: FSDP is asked for, and cannot run here; or another training writes to the work dir; or the
            model has no deterministic gradients, which the config wants.
        ValueError: ``activation_checkpointing`` names what the model has not, or FlexibleRunner would ignore it;
            or the parts of the model do not fit together.
    """
    config.remarks = adapt_to_hardware(config, config.launcher) + remarks
    prepare_determinism(config)
    check_model(config, training)
    if is_main_process():
        for remark in config.remarks:
            print(f'mmlocat: {remark}', file=sys.stderr, flush=True)
    init_cpu_processes(config.launcher)
    check_sharding(config, config.launcher)
    if training and is_main_process():
        claim_work_dir(config.work_dir)
    runner = _build(config)
    if training and isinstance(getattr(runner, 'model', None), nn.Module):  # FlexibleRunner builds it later
        check_determinism(config, runner.model)
    runner.register_hook(BareViTHook(), priority='VERY_HIGH')
    runner.register_hook(NonFiniteHook())
    runner.register_hook(MeanLossHook())
    runner.register_hook(WholeMetadataHook())
    note_log(runner)
    # What the attention says (its choice of a back-end) belongs into the same log.
    logger = logging.getLogger('mmlocat')
    logger.handlers, logger.propagate = list(runner.logger.handlers), False
    logger.setLevel(logging.INFO)
    return runner


def _build(config: Config) -> Runner:
    recomputed = config.get('activation_checkpointing')
    if config.get('runner_type', 'Runner') == 'Runner':
        runner = RemarkingRunner.from_cfg(config)
        if recomputed is not None:
            check_recomputed(runner.model.module if is_model_wrapper(runner.model) else runner.model, recomputed)
        return runner
    if recomputed is not None and config.runner_type == 'FlexibleRunner':
        raise ValueError('FlexibleRunner ignores activation_checkpointing; to recompute the blocks of the backbone use '
                         '--cfg-options model.backbone.with_cp=True')
    runner = RUNNERS.build(config)
    for remark in config.remarks:
        runner.logger.info(remark)
    return runner


def build_training_data(runner: Runner) -> None:
    """Builds the loops now, so that missing data show before training; ``Runner.train`` takes them as they are.

    Each training sample draws its augmentations from a random stream of its own, see ``mmlocat.training.seeding``.

    Raises:
        ValueError: The data have more classes than a head predicts.
    """
    runner._train_dataloader = build_seeded_loader(runner, runner._train_dataloader)
    # Before the loop, with which upstream mmengine already starts the workers.
    check_samples(runner, runner._train_dataloader.dataset, 'train')
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    if runner._val_loop is not None:
        runner._val_loop = runner.build_val_loop(runner._val_loop)
        keep_random_state([runner._val_loop.dataloader], runner.seed)
        check_samples(runner, runner._val_loop.dataloader.dataset, 'val')
        count_class_areas(getattr(runner._val_loop, 'evaluator', None))


def build_test_data(runner: Runner) -> None:
    """Builds the test loop now, for the same reason."""
    runner._test_loop = runner.build_test_loop(runner._test_loop)
    check_samples(runner, runner._test_loop.dataloader.dataset, 'test')
    count_class_areas(getattr(runner._test_loop, 'evaluator', None))


def build_optimizer(runner: Runner) -> None:
    """Builds optimizer and schedulers now, in MMEngine's order; ``Runner.train`` takes them as they are."""
    if not isinstance(runner, Runner):
        return  # FlexibleRunner's strategy builds them together with the model
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if (runner.auto_scale_lr or {}).get('enable'):
        return  # MMEngine scales between the two
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
