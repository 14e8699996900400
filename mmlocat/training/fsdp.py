"""Configures FSDP for the models of this package, and completes and corrects FSDP checkpoints."""

from __future__ import annotations

import copy

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, STRATEGIES
from mmengine.runner import Runner
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmseg.models.backbones.vit import TransformerEncoderLayer as SegmentorEncoderLayer
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mmlocat.attention.vit.loading import without_wrapper
from mmlocat.models.backbones.swin_layers import SwinBlock

# The libraries' transformer blocks, from the first of which those of LocAtViT and LocAtJumbo derive; and LocAtSwin's.
_BLOCKS = (TransformerEncoderLayer, SegmentorEncoderLayer, SwinBlock)


@FUNCTIONS.register_module()
def wrap_transformer_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """Makes every transformer block an FSDP unit, gathered while it computes; an ``auto_wrap_policy``.

    Args:
        module: The module in question.
        recurse: Whether FSDP asks to look at its submodules; the answer is always yes.
        nonwrapped_numel: The number of its parameters that are in no unit yet; not used.

    Returns:
        Whether to go on to the submodules, or to make the module a unit.
    """
    return recurse or isinstance(module, _BLOCKS)


@STRATEGIES.register_module()
class ResumableFSDPStrategy(FSDPStrategy):
    """Makes trainings of mmengine's FSDPStrategy resumable; it takes the same arguments.

    mmengine passes FSDP the state of the optimizer by position, in the order of PyTorch 2.0, which changed in 2.1. And
    on CPUs PyTorch 2.14 gathers one entry after the other into the same memory without copying it, so that a saved
    ``exp_avg`` of Adam silently holds its ``exp_avg_sq``.
    """

    def optim_state_dict(self) -> dict:
        """Returns the optimizer's state, unsharded if ``state_dict_cfg`` is 'full', and correct on CPUs too."""
        if torch.cuda.is_available() or not self._is_full_state_dict():
            return super().optim_state_dict()
        own = self.optim_wrapper.state_dict()
        names = [None] * self.world_size
        torch.distributed.all_gather_object(names, [name for entry in own['state'].values() for name in entry])
        whole: dict = dict(state={})
        for name in sorted({name for found in names for name in found}):
            part = {key: {name: entry[name]} for key, entry in own['state'].items() if name in entry}
            found = FullyShardedDataParallel.optim_state_dict(
                self.model, self.optim_wrapper, optim_state_dict={**own, 'state': part})
            for key, entry in found.pop('state', {}).items():
                whole['state'].setdefault(key, {}).update(copy.deepcopy(entry))
            whole.update(found)
        return whole

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Loads each process's shard of the optimizer's state."""
        self.optim_wrapper.load_state_dict(
            FullyShardedDataParallel.optim_state_dict_to_load(
                model=self.model, optim=self.optim_wrapper.optimizer, optim_state_dict=state_dict))


class WholeMetadataHook(Hook):
    """Makes checkpoints of FSDP record the reference grid as those of one process do.

    FSDP removes its own prefix from the names of weights, but not from the names in the metadata beside them.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds the metadata under the modules' own names."""
        metadata = getattr(checkpoint['state_dict'], '_metadata', {})
        for name in list(metadata):
            metadata.setdefault(without_wrapper(name), metadata[name])
