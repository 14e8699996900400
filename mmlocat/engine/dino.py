"""Provides what DINO's training does between two iterations: the teacher's update, and how gradients are clipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Optional, Sequence

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, OPTIMIZERS
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.runner.checkpoint import weights_to_cpu
from torch import nn

from mmlocat.utils import atomic_write


@OPTIMIZERS.register_module()
class PerParameterClipAdamW(torch.optim.AdamW):
    """AdamW that clips the gradient of every parameter by its own norm, as DINO does.

    It clips within the step, where mixed precision has unscaled the gradients.

    Args:
        params: Parameters or groups of them.
        max_norm: Largest norm of a parameter's gradient. Defaults to 3.
        **kwargs: Arguments of PyTorch's ``AdamW``.

    Attributes:
        skipped: Parameters that the next steps leave alone, without decay too.
    """

    def __init__(self, params: Any, max_norm: float = 3.0, **kwargs: Any) -> None:
        if not max_norm > 0:
            raise ValueError(f'max_norm must be positive, got {max_norm}')
        super().__init__(params, **kwargs)
        self.max_norm = max_norm
        self.skipped: Sequence[nn.Parameter] = ()

    def step(self, closure: Optional[Callable] = None) -> Optional[float]:
        """Clips and updates."""
        for parameter in self.skipped:
            parameter.grad = None
        for group in self.param_groups:
            for parameter in group['params']:
                if parameter.grad is not None:
                    torch.nn.utils.clip_grad_norm_(parameter, self.max_norm)
        return super().step(closure)


@HOOKS.register_module()
class DINOHook(Hook):
    """Moves DINO's teacher after each update, and keeps the head's last layer as it is in the first epochs.

    After the training it writes the teacher's backbone to ``teacher.pth``.

    Args:
        frozen_epochs: Epochs in which the last layer does not learn. Defaults to 1.
    """

    def __init__(self, frozen_epochs: int = 1) -> None:
        self.frozen_epochs = frozen_epochs

    def before_train(self, runner: Runner) -> None:
        """Refuses what could not freeze the last layer or clip.

        Raises:
            ValueError: The optimizer is another one, or the training counts no epochs.
        """
        optimizer = runner.optim_wrapper.optimizer
        if not isinstance(optimizer, PerParameterClipAdamW):
            raise ValueError(f'DINOHook needs optim_wrapper.optimizer.type=PerParameterClipAdamW, which clips each '
                             f'parameter and leaves frozen ones alone; got {type(optimizer).__name__}')
        if self.frozen_epochs and not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError('DINOHook keeps the last layer frozen for some epochs, but train_cfg counts iterations; '
                             'train by epoch, or set frozen_epochs=0')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Tells the optimizer whether the last layer learns."""
        frozen = runner.epoch < self.frozen_epochs
        layer = _model(runner).head.last_layer
        runner.optim_wrapper.optimizer.skipped = tuple(layer.parameters()) if frozen else ()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Moves the teacher, after an update of the student; an iteration that only accumulates gradients is none."""
        if runner.optim_wrapper.should_update():
            _model(runner).update_teacher(runner.iter, runner.max_iters)

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Writes ``teacher.pth`` into the work dir, the teacher's backbone as ``checkpoint=`` of other configs."""
        backbone = _model(runner).teacher.module['backbone']
        state_dict = weights_to_cpu(backbone.state_dict(prefix='backbone.'))  # keeps the record of the reference grid
        with atomic_write(Path(runner.work_dir) / 'teacher.pth', 'wb') as file:
            torch.save(dict(state_dict=state_dict, meta=dict(epoch=runner.epoch, iter=runner.iter)), file)


def _model(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
