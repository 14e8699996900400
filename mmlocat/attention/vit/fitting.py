"""Provides what every model with GAug needs to take a checkpoint: strict loading with a report, the recorded grid."""

from __future__ import annotations

import logging
from typing import Any, Dict, List, Mapping, Optional, Sequence

from torch import Tensor, nn

from mmlocat.attention.gaug import GaussianAttention, independent_random_state
from mmlocat.attention.kernel import GaussianKernel, Grid
from mmlocat.checkpoints.names import Translated, bare, translate

from . import loading


class FitsCheckpoints:
    """Gives a module with ``GaussianAttention`` strict loading, whatever names the weights have.

    The derived class is a ``torch.nn.Module`` too, and calls ``watch_checkpoints()`` at the end of its constructor.

    Attributes:
        allow_partial: Parts of names of weights that a checkpoint may lack, or hold although the model has none.
        adapt_channels: Whether a checkpoint for images of other channels is adapted; see ``loading.fit_channels``.
        gaug_init: How GAug starts, 'paper' or 'identity'. If it is set, a checkpoint may lack the GAug weights.
        given_ref_grid: The pretraining grid (H, W) that the user set, so that no checkpoint may change it; or None.
        size_arguments: What sets the size of the model, for advice.
        grid_source: Where the pretraining grid comes from, if no checkpoint may change it; None if one may.
    """

    allow_partial: Sequence[str] = ()
    adapt_channels: bool = False
    gaug_init: Optional[str] = None
    given_ref_grid: Optional[Grid] = None
    size_arguments: str = 'arch'
    grid_source: Optional[str] = None

    def watch_checkpoints(self) -> None:
        """Registers hooks that fit every loaded checkpoint, and record the grids of the model in every saved one."""
        # Private names, because the public ones came with PyTorch 2.5; these two exist in 2.1 to 2.14.
        self._register_load_state_dict_pre_hook(self._fit_loaded)
        self._register_state_dict_hook(_record_grids)

    def _fit_loaded(self, state_dict: dict, prefix: str, local_metadata: Optional[Mapping] = None, *_: Any) -> None:
        self.log(str(self.fit_checkpoint(state_dict, prefix, local_metadata)))

    def log(self, report: str) -> None:
        """Logs what became of a checkpoint."""
        logging.getLogger('mmlocat').info(report)

    def fit_checkpoint(self, state_dict: Dict[str, Any], prefix: str = '',
                       metadata: Optional[Mapping] = None) -> loading.LoadReport:
        """Converts a checkpoint to this model's names and shapes, in place; see ``models.backbones.protocol``.

        ``init_cfg`` loads with ``strict=False`` and only logs wrong shapes, so only this method refuses them. It may
        replace the model's Gaussian kernel by that of the checkpoint's pretraining grid. Of a checkpoint of DINO it
        takes the teacher, which is the model that is evaluated, and the report says so.
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
        embedded = loading.fit_position_embedding(
            self, weights, recorded, loading.recorded_grid(state_dict, metadata, 'embedding_grid'), report)
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


def _record_grids(model: nn.Module, state_dict: dict, prefix: str, local_metadata: dict) -> None:
    """Saves the grids of pretraining and of the position embedding with the weights; a state-dict hook."""
    if model.ref_grid is not None:
        local_metadata['ref_grid'] = model.ref_grid
    if model.position_embedding is not None:
        local_metadata['embedding_grid'] = model.position_embedding.grid
