"""How FSDP shards the models of this package, and what its checkpoints lack."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner
from torch import nn

from mmlocat.models.backbones.layers import LocAtEncoderLayer


@FUNCTIONS.register_module()
def wrap_transformer_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """FSDP's ``auto_wrap_policy``: every transformer block is a unit, gathered while it computes.

    Args:
        module: The module in question.
        recurse: Whether FSDP asks to look below it; the answer is always yes.
        nonwrapped_numel: Its parameters that are in no unit yet; not looked at.

    Returns:
        Whether to go on below the module, or to make it a unit.
    """
    return recurse or isinstance(module, LocAtEncoderLayer)


class WholeMetadataHook(Hook):
    """Lets checkpoints of FSDP record the reference grid as those of one process do.

    FSDP takes its own name out of the names of weights, but not out of those of the metadata beside them.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds the metadata under the modules' own names."""
        metadata = getattr(checkpoint['state_dict'], '_metadata', None) or {}
        for name in list(metadata):
            own = '.'.join(part for part in name.split('.') if part != '_fsdp_wrapped_module')
            metadata.setdefault(own, metadata[name])
