"""Provides the base class of LocAt backbones: loading and saving of weights, and layer depths of parameters."""

from __future__ import annotations

from typing import Sequence, Tuple

from mmengine.logging import print_log

from mmlocat.attention.vit.fitting import FitsCheckpoints


class LocAtBase(FitsCheckpoints):
    """Base class of vision transformers with ``GaussianAttention``: ``class Mine(LocAtBase, BaseModule)``.

    It provides strict loading with a report, the pretraining grid in state dicts, and depths for layer-wise learning
    rates. The derived class has ``blocks``, the transformer blocks in the order in which they run, and sets
    ``in_channels``, ``img_size``, ``patch_size`` and ``num_prefix_tokens`` (see ``protocol.LocAtBackbone``). At the end
    of its constructor it calls ``watch_checkpoints()``.

    Attributes:
        after_blocks: First parts of the names of parameters that come after the last block, such as a final norm.
        shared_by_blocks: First parts of the names of parameters that all blocks use, such as a shared MLP.
    """

    after_blocks: Sequence[str] = ('ln1', 'ln2', 'norm')
    shared_by_blocks: Sequence[str] = ()

    def log(self, report: str) -> None:
        """Logs what became of a checkpoint, in MMEngine's current log."""
        print_log(report, logger='current')

    def draws_weights(self) -> bool:
        """Tells whether ``init_weights`` draws weights, because it is the first call and no checkpoint is loaded."""
        configs = [self.init_cfg] if isinstance(self.init_cfg, dict) else self.init_cfg or []
        types = {getattr(config['type'], '__name__', config['type']) for config in configs}
        return not self.is_init and not types & {'Pretrained', 'PretrainedInit'}

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """Returns the depth of a parameter for layer-wise learning rates, and the number of depths.

        The stem and the prefix tokens have depth 0, the first block 1; parameters after the blocks are the deepest. So
        are those that all blocks share, as in BEiT, timm and mmpretrain: they serve the last block too, which learns
        fast. The prefix is that of the backbone in the whole model, such as 'backbone.'.
        """
        deepest = len(self.blocks) + 1
        name = param_name[len(prefix):]
        if not param_name.startswith(prefix) or name.split('.')[0] in (*self.after_blocks, *self.shared_by_blocks):
            return deepest, deepest + 1
        places = {module: place for place, module in self.named_modules()}
        inside = [depth for depth, block in enumerate(self.blocks, 1) if name.startswith(places[block] + '.')]
        return max(inside, default=0), deepest + 1
