"""Provides the base class of LocAt backbones: loading and saving of weights, and layer depths of parameters."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Sequence, Tuple

from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor

from mmlocat.attention.vit.fitting import FitsCheckpoints
from mmlocat.checkpoints.names import to_classifier_names, unwrapped


class LocAtBase(FitsCheckpoints):
    """Base class of vision transformers with ``GaussianAttention``: ``class Mine(LocAtBase, BaseModule)``.

    It provides strict loading with a report, the pretraining grid in state dicts, and depths for layer-wise learning
    rates. The derived class has ``blocks``, the transformer blocks in the order in which they run, and sets
    ``in_channels``, ``img_size``, ``patch_size`` and ``num_prefix_tokens`` (see ``protocol.LocAtBackbone``). At the end
    of its constructor it calls ``watch_checkpoints()``.

    Attributes:
        after_blocks: First parts of the names of parameters that come after the last block, such as a final norm.
        shared_by_blocks: First parts of the names of parameters that all blocks use, such as a shared MLP.
        classifier_head: What begins the names of the head in MMPretrain's classifiers around this backbone.
    """

    after_blocks: Sequence[str] = ('ln1', 'ln2', 'norm')
    shared_by_blocks: Sequence[str] = ()
    classifier_head: str = 'head.layers.head.'

    def log(self, report: str) -> None:
        """Logs what became of a checkpoint, in MMEngine's current log."""
        print_log(report, logger='current')

    def in_classifier(self, weights: Mapping[str, Tensor]) -> Dict[str, Tensor]:
        """Returns weights of a bare backbone, and of its head, under the names of MMPretrain's classifier around it.

        Args:
            weights: Under any library's names. Those of a whole model keep theirs, without prefixes of wrappers around
                it ('module.', '_orig_mod.').
        """
        named = unwrapped(weights)
        if any(name.startswith('backbone.') for name in named):
            return dict(named)
        return to_classifier_names(self.translate(weights).state_dict, self.classifier_head)

    def _checkpoint_filter(self, state_dict: Dict[str, Any], prefix: str, *_: Any) -> None:
        """Lets a classifier around this backbone load what is published, bare; MMPretrain registers it as a load hook.

        By this name, in 1.2.0 to 1.3.6. MMEngine gives the backbone itself only entries that begin with 'backbone.'.
        """
        own = {name[len(prefix):]: value for name, value in state_dict.items() if name.startswith(prefix)}
        whole = self.in_classifier(own)
        if whole.keys() == own.keys():
            return
        for name in own:
            del state_dict[prefix + name]
        state_dict.update({prefix + name: value for name, value in whole.items()})
        if any('backbone.' in name for name in own):  # a whole model in wrappers
            return
        head = sorted(name for name in whole if name.startswith('head.'))
        self.log(f'Weights of a bare {type(self).__name__} for the classifier around it, with '
                 + (f'its head: {", ".join(head)}.' if head else 'no head: that of the classifier starts anew.'))

    def draws_weights(self) -> bool:
        """Tells whether ``init_weights`` draws weights, because it is the first call and no checkpoint is loaded."""
        from mmlocat.config import is_kind  # not with the plugin: see tests/models/test_plugin_alone.py

        configs = [self.init_cfg] if isinstance(self.init_cfg, dict) else self.init_cfg or []
        return not self.is_init and not any(is_kind(config, PretrainedInit, WEIGHT_INITIALIZERS) for config in configs)

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
