"""What backbones of the family share: how their weights come in and go out, and how deep their parameters lie."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from torch import Tensor, nn

from mmlocat.attention import GaussianAttention, GaussianKernel
from mmlocat.attention.kernel import Grid
from mmlocat.attention.module import independent_random_state
from mmlocat.checkpoints import translate
from mmlocat.checkpoints.names import Translated, bare

from . import loading


class LocAtBase:
    """Makes a vision transformer with ``GaussianAttention`` one of the family: ``class Mine(LocAtBase, BaseModule)``.

    It brings strict loading with a report, the record of the pretraining grid in state dicts, and depths for layer-wise
    learning rates. The class itself has ``blocks``, the transformer blocks in the order in which they run, and sets
    ``in_channels``, ``img_size``, ``patch_size`` and ``num_prefix_tokens`` (see ``protocol.LocAtBackbone``). At the end
    of its constructor it calls ``watch_checkpoints()``.

    Attributes:
        allow_partial: Parts of names of weights that a checkpoint may lack, or bear without a place for them.
        gaug_init: How GAug starts, 'paper' or 'identity'. Naming one lets a checkpoint lack the GAug weights.
        explicit_ref_grid: Whether the user named the reference grid, so that no checkpoint may change it.
        pretrain_grid: The grid (H, W) of a checkpoint's position embedding, where it is not square.
        after_blocks: First parts of the names of parameters that come after the last block, such as a final norm.
    """

    allow_partial: Sequence[str] = ()
    gaug_init: Optional[str] = None
    explicit_ref_grid: bool = False
    pretrain_grid: Optional[Grid] = None
    after_blocks: Sequence[str] = ('ln1', 'ln2', 'norm')

    def watch_checkpoints(self) -> None:
        """Has every checkpoint that comes in fitted, and the reference grid recorded in every one that goes out."""
        # Private, because their public names are no older than PyTorch 2.5; these two are in 2.1 to 2.14.
        self._register_load_state_dict_pre_hook(self._fit_loaded)
        self._register_state_dict_hook(_record_ref_grid)

    def _fit_loaded(self, state_dict: dict, prefix: str, local_metadata: Optional[Mapping] = None, *_: Any) -> None:
        loading.log_report(self.fit_checkpoint(state_dict, prefix, local_metadata))

    def fit_checkpoint(self, state_dict: Dict[str, Any], prefix: str = '',
                       metadata: Optional[Mapping] = None) -> loading.LoadReport:
        """Brings a checkpoint into this model's names and shapes, in place; see ``loading.fit_checkpoint``."""
        return loading.fit_checkpoint(self, state_dict, prefix, metadata)

    def translate(self, weights: Mapping[str, Tensor]) -> Translated:
        """Returns weights under this backbone's names: as they are, if most of its own are there, else as LocAtViT's.

        Args:
            weights: As a checkpoint has them.
        """
        kept, own = bare(weights), {loading.without_wrapper(name) for name, _ in self.named_parameters()}
        return kept if 2 * len(own & kept.state_dict.keys()) > len(own) else translate(weights)

    def has_no_use_for(self, name: str) -> bool:
        """Tells whether a checkpoint's weight may be left over, because nothing of this model depends on it."""
        return False

    @property
    def position_embedding(self) -> Optional[loading.PositionEmbedding]:
        """The learned position embedding, which loading resizes; None where there is none."""
        return None

    def gaug_modules(self) -> List[GaussianAttention]:
        """Returns the modules of GAug, in the order of the blocks; none in a plain baseline."""
        return [module for module in self.modules() if isinstance(module, GaussianAttention)]

    def start_gaug(self, anew: bool = False) -> None:
        """Starts GAug as ``gaug_init`` says.

        Args:
            anew: Whether its weights are drawn once more before.
        """
        if anew:
            # One random state for all blocks: on a GPU nothing would advance the CPU's between them.
            with independent_random_state():
                for module in self.gaug_modules():
                    module.reset_parameters()
        if self.gaug_init == 'identity':
            for module in self.gaug_modules():
                module.start_as_identity()

    @property
    def kernel(self) -> Optional[GaussianKernel]:
        """The constants of the pretraining grid, which all blocks share; None without GAug."""
        return next((module.kernel for module in self.gaug_modules()), None)

    @property
    def ref_grid(self) -> Optional[Grid]:
        """The patch grid (H, W) of pretraining that GAug refers to; None without GAug."""
        return None if self.kernel is None else self.kernel.ref_grid

    def replace_kernel(self, ref_grid: Grid) -> None:
        """Makes another grid that of pretraining; loading a checkpoint does so, before training.

        Args:
            ref_grid: The patch grid (H, W) that the weights come from.
        """
        kernel = GaussianKernel(ref_grid)
        for module in self.gaug_modules():
            module.kernel = kernel

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """Returns the depth of a parameter for layer-wise learning rates, and the number of depths.

        The stem and the prefix tokens have depth 0, the first block 1; what comes after the blocks lies deepest.

        Args:
            param_name: The parameter's name.
            prefix: What its name begins with in the whole model, such as 'backbone.'.
        """
        deepest = len(self.blocks) + 1
        name = param_name[len(prefix):]
        if not param_name.startswith(prefix) or name.split('.')[0] in self.after_blocks:
            return deepest, deepest + 1
        places = {module: place for place, module in self.named_modules()}
        inside = [depth for depth, block in enumerate(self.blocks, 1) if name.startswith(places[block] + '.')]
        return max(inside, default=0), deepest + 1


def _record_ref_grid(model: nn.Module, state_dict: dict, prefix: str, local_metadata: dict) -> None:
    """State-dict hook: whoever saves the weights saves the grid of their pretraining with them."""
    if model.ref_grid is not None:
        local_metadata['ref_grid'] = model.ref_grid
