"""Every private name of mmengine and PyTorch that training uses, each behind a function that says why.

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
    """Whether a Runner was given a loop; asking for the loop itself would build it, and start its workers."""
    return getattr(runner, f'_{name}_loop') is not None


def loader_of(runner: Runner, name: str) -> Union[DataLoader, Dict[str, Any]]:
    """Returns the loader, or its config, that a loop will be built with; the public name asks the built loop."""
    return getattr(runner, f'_{name}_dataloader')


def set_loader(runner: Runner, name: str, loader: DataLoader) -> None:
    """Gives a Runner a loader before its loop exists: upstream's loops start the workers when they are built."""
    setattr(runner, f'_{name}_dataloader', loader)


def accumulated_steps(wrapper: OptimWrapper) -> int:
    """Returns over how many iterations gradients are summed; wrappers of several optimizers do not say."""
    return getattr(wrapper, '_accumulative_counts', 1)


def set_loss_scale_update(wrapper: OptimWrapper, scale: Any) -> None:
    """Tells an ``AmpOptimWrapper`` to what it shall set its scaler after each step; None leaves that to the scaler."""
    wrapper._scale_update_param = scale


def advance_epoch(loop: EpochBasedTrainLoop) -> None:
    """Counts an epoch that a loop of ours has run; ``epoch`` can only be read."""
    loop._epoch += 1


def decide_val_interval(loop: Any) -> None:
    """Lets a loop take the validation interval of where it is; it does so itself only after a step."""
    loop._decide_current_val_interval()


def is_whole(strategy: FSDPStrategy) -> bool:
    """Whether FSDP saves whole tensors, ``state_dict_cfg='full'``."""
    return strategy._is_full_state_dict()


def metadata_of(state_dict: Mapping) -> Dict[str, dict]:
    """Returns what PyTorch keeps beside the weights of a state dict, by module; empty for plain dicts."""
    return getattr(state_dict, '_metadata', None) or {}


def keep_metadata(state_dict: Mapping, source: Mapping) -> None:
    """Hands a new state dict what PyTorch kept beside the weights of the one that it was made from."""
    if metadata_of(source):
        state_dict._metadata = source._metadata


class SteppedCheckpointHook(CheckpointHook):
    """mmengine's hook with its two ways to save as methods that can be replaced."""

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
