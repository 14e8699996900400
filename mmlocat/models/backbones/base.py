"""Provides the base class of LocAt backbones: loading and saving of weights, and layer depths of parameters."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from mmengine.logging import print_log
from torch import Tensor, nn

from mmlocat.attention import GaussianAttention, GaussianKernel
from mmlocat.attention.gaug import independent_random_state
from mmlocat.attention.kernel import Grid
from mmlocat.checkpoints import translate
from mmlocat.checkpoints.names import Translated, bare

from . import loading


class LocAtBase:
    """Base class of vision transformers with ``GaussianAttention``: ``class Mine(LocAtBase, BaseModule)``.

    It provides strict loading with a report, the pretraining grid in state dicts, and depths for layer-wise learning
    rates. The derived class has ``blocks``, the transformer blocks in the order in which they run, and sets
    ``in_channels``, ``img_size``, ``patch_size`` and ``num_prefix_tokens`` (see ``protocol.LocAtBackbone``). At the end
    of its constructor it calls ``watch_checkpoints()``.

    Attributes:
        allow_partial: Parts of names of weights that a checkpoint may lack, or hold although the model has none.
        adapt_channels: Whether a checkpoint for images of other channels is adapted; see ``loading.fit_channels``.
        gaug_init: How GAug starts, 'paper' or 'identity'. If it is set, a checkpoint may lack the GAug weights.
        given_ref_grid: The pretraining grid (H, W) that the user set, so that no checkpoint may change it; or None.
        after_blocks: First parts of the names of parameters that come after the last block, such as a final norm.
        shared_by_blocks: First parts of the names of parameters that all blocks use, such as a shared MLP.
        grid_source: Where the pretraining grid comes from, if no checkpoint may change it; None if one may.
    """

    allow_partial: Sequence[str] = ()
    adapt_channels: bool = False
    gaug_init: Optional[str] = None
    given_ref_grid: Optional[Grid] = None
    after_blocks: Sequence[str] = ('ln1', 'ln2', 'norm')
    shared_by_blocks: Sequence[str] = ()
    grid_source: Optional[str] = None

    def watch_checkpoints(self) -> None:
        """Registers hooks that fit every loaded checkpoint, and record the reference grid in every saved one."""
        # Private names, because the public ones came with PyTorch 2.5; these two exist in 2.1 to 2.14.
        self._register_load_state_dict_pre_hook(self._fit_loaded)
        self._register_state_dict_hook(_record_ref_grid)

    def _fit_loaded(self, state_dict: dict, prefix: str, local_metadata: Optional[Mapping] = None, *_: Any) -> None:
        print_log(str(self.fit_checkpoint(state_dict, prefix, local_metadata)), logger='current')

    def fit_checkpoint(self, state_dict: Dict[str, Any], prefix: str = '',
                       metadata: Optional[Mapping] = None) -> loading.LoadReport:
        """Converts a checkpoint to this model's names and shapes, in place; see ``protocol.LocAtBackbone``.

        ``init_cfg`` loads with ``strict=False`` and only logs wrong shapes, so only this method refuses them. It may
        replace the model's Gaussian kernel by that of the checkpoint's pretraining grid.
        """
        kind = type(self).__name__
        own = {name[len(prefix):]: value for name, value in state_dict.items() if name.startswith(prefix)}
        if not own:
            raise RuntimeError(f'the checkpoint has no entry under {prefix!r}, where this model has its {kind}; '
                               "to start from a bare ViT, give it by backbone=dict(init_cfg=dict(type='Pretrained', "
                               'checkpoint=...)) instead')
        weights, names, nesting = self.translate(own)
        report = loading.LoadReport(kind, names, nesting)
        loading.fit_channels(self, weights, report)
        loading.check_completeness(self, weights, report, found=list(own)[:3])
        recorded = loading.recorded_grid(state_dict, metadata)
        embedded = loading.fit_position_embedding(self, weights, recorded, report)
        loading.settle_reference_grid(self, recorded, embedded, report)
        for name in own:
            del state_dict[prefix + name]
        state_dict.update({prefix + name: value for name, value in weights.items()})
        return report

    def translate(self, weights: Mapping[str, Tensor]) -> Translated:
        """Returns weights under this backbone's names if most of them match, else under those of LocAtViT."""
        kept, own = bare(weights), {loading.without_wrapper(name) for name, _ in self.named_parameters()}
        return kept if 2 * len(own & kept.state_dict.keys()) > len(own) else translate(weights)

    def has_no_use_for(self, name: str) -> bool:
        """Tells whether a checkpoint's weight may be left over, because nothing of this model depends on it."""
        return False

    def comes_with_gaug(self, name: str) -> bool:
        """Tells whether the plain model lacks a weight, so that with ``gaug_init`` a checkpoint may lack it too."""
        return loading.is_gaug(name)

    @property
    def position_embedding(self) -> Optional[loading.PositionEmbedding]:
        """The learned position embedding, which loading resizes; None if there is none."""
        return None

    def gaug_modules(self) -> List[GaussianAttention]:
        """Returns the modules of GAug, in the order of the blocks; none in a plain baseline."""
        return [module for module in self.modules() if isinstance(module, GaussianAttention)]

    def draws_weights(self) -> bool:
        """Tells whether ``init_weights`` draws weights, because it is the first call and no checkpoint is loaded."""
        configs = [self.init_cfg] if isinstance(self.init_cfg, dict) else self.init_cfg or []
        types = {getattr(config['type'], '__name__', config['type']) for config in configs}
        return not self.is_init and not types & {'Pretrained', 'PretrainedInit'}

    def start_gaug(self, anew: bool = False) -> None:
        """Initialises GAug as ``gaug_init`` says, after drawing its weights anew if so asked."""
        if self.gaug_init not in (None, 'paper', 'identity'):
            raise ValueError(f"gaug_init must be 'paper', 'identity' or None, got {self.gaug_init!r}")
        if anew:
            # One context for all blocks: with weights on a GPU the CPU's random state would not advance between them.
            with independent_random_state():
                for module in self.gaug_modules():
                    module.reset_parameters()
        if self.gaug_init == 'identity':
            for module in self.gaug_modules():
                module.start_as_identity()

    @property
    def kernel(self) -> Optional[GaussianKernel]:
        """The constants of the pretraining grid, of the first block; None without GAug."""
        return next((module.kernel for module in self.gaug_modules()), None)

    @property
    def ref_grid(self) -> Optional[Grid]:
        """The patch grid (H, W) of pretraining that GAug refers to; None without GAug."""
        return None if self.kernel is None else self.kernel.ref_grid

    def replace_kernel(self, ref_grid: Grid) -> None:
        """Sets the patch grid (H, W) of the weights' pretraining; loading a checkpoint calls it, before training."""
        kernel = GaussianKernel(ref_grid)
        for module in self.gaug_modules():
            module.kernel = kernel

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


def _record_ref_grid(model: nn.Module, state_dict: dict, prefix: str, local_metadata: dict) -> None:
    """Saves the pretraining grid with the weights; a state-dict hook."""
    if model.ref_grid is not None:
        local_metadata['ref_grid'] = model.ref_grid
