"""Wraps every private name of mmengine and PyTorch that training uses in a function that says why it is needed.

Checked with mmengine 0.10.7 and the OneDL builds up to 0.10.12, and with PyTorch 2.1 to 2.14.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Union

from mmengine._strategy import DDPStrategy, FSDPStrategy
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

__all__ = [
    'DDPStrategy', 'FSDPStrategy', 'SteppedCheckpointHook', 'accumulated_steps', 'advance_epoch',
    'decide_val_interval', 'has_loop', 'is_whole', 'keep_metadata', 'loader_of', 'metadata_of', 'set_loader',
    'set_loss_scale_update'
]


def has_loop(runner: Runner, name: str) -> bool:
    """Whether a Runner was given a loop; the public property would build the loop and start its workers."""
    return getattr(runner, f'_{name}_loop') is not None


def loader_of(runner: Runner, name: str) -> Union[DataLoader, Dict[str, Any]]:
    """Returns the loader, or its config, that a loop will be built with; the public property builds the loop."""
    return getattr(runner, f'_{name}_dataloader')


def set_loader(runner: Runner, name: str, loader: DataLoader) -> None:
    """Sets a Runner's loader before its loop exists; loops of upstream mmengine start the workers when built."""
    setattr(runner, f'_{name}_dataloader', loader)


def accumulated_steps(wrapper: OptimWrapper) -> int:
    """Returns over how many iterations gradients are summed; 1 for wrappers of several optimizers, which do not say."""
    return getattr(wrapper, '_accumulative_counts', 1)


def set_loss_scale_update(wrapper: OptimWrapper, scale: Any) -> None:
    """Sets the loss scale that an ``AmpOptimWrapper`` uses after each step; None lets the scaler choose it."""
    wrapper._scale_update_param = scale


def advance_epoch(loop: EpochBasedTrainLoop) -> None:
    """Counts an epoch that our ``EpochLoop`` has run; the public ``epoch`` is read-only."""
    loop._epoch += 1


def decide_val_interval(loop: Any) -> None:
    """Makes a loop choose the validation interval for its current position; by itself it does so only after a step."""
    loop._decide_current_val_interval()


def is_whole(strategy: FSDPStrategy) -> bool:
    """Whether FSDP saves unsharded tensors, ``state_dict_cfg='full'``."""
    return strategy._is_full_state_dict()


def metadata_of(state_dict: Mapping) -> Dict[str, dict]:
    """Returns the metadata that PyTorch keeps with a state dict, by module; empty for plain dicts."""
    return getattr(state_dict, '_metadata', None) or {}


def keep_metadata(state_dict: Mapping, source: Mapping) -> None:
    """Copies PyTorch's metadata from a state dict to one that was made from it."""
    if metadata_of(source):
        state_dict._metadata = source._metadata


class SteppedCheckpointHook(CheckpointHook):
    """Offers the two private saving methods of mmengine's ``CheckpointHook`` as public ones, to be overridden."""

    def save_step_checkpoint(self, runner: Runner, step: int, meta: dict) -> None:
        """Saves the checkpoint of an iteration or epoch."""
        super()._save_checkpoint_with_step(runner, step, meta)

    def save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Saves the checkpoint if its metrics are the best so far."""
        super()._save_best_checkpoint(runner, metrics)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        self.save_step_checkpoint(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        self.save_best_checkpoint(runner, metrics)
