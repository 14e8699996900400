"""What the rest of mmlocat asks of a backbone of the family; whoever answers it is one, whatever its class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Protocol, Sequence, Tuple

from mmengine.model import is_model_wrapper
from torch import nn

from mmlocat.attention.kernel import Grid

if TYPE_CHECKING:
    from .loading import LoadReport


class LocAtBackbone(Protocol):
    """A vision transformer that knows the grid of its pretraining, with GAug or as its plain baseline.

    Its attention is found by ``GaussianAttention`` modules, not through this protocol. ``base.LocAtBase`` brings what
    the members of the family have in common.

    Attributes:
        in_channels: Of its images.
        img_size: (height, width) of pretraining in px.
        patch_size: (height, width) in px of what becomes one patch token.
        num_prefix_tokens: P; a block's first P tokens are no patches.
    """

    in_channels: int
    img_size: Tuple[int, int]
    patch_size: Tuple[int, int]
    num_prefix_tokens: int

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The transformer blocks, in the order in which they run."""

    @property
    def ref_grid(self) -> Optional[Grid]:
        """The patch grid (H, W) of pretraining that GAug refers to; None without GAug."""

    def fit_checkpoint(self, state_dict: Dict[str, Any], prefix: str = '',
                       metadata: Optional[Mapping] = None) -> LoadReport:
        """Brings a checkpoint into this backbone's names and shapes, in place; whatever does not fit is an error.

        Args:
            state_dict: Weights of the backbone, or of a model around it.
            prefix: What the backbone's names begin with in it.
            metadata: What a state dict bears about this module; of it the key 'ref_grid' is read.

        Raises:
            RuntimeError: Weights are missing, left over, of another shape or not finite.
            ValueError: The position embedding has no grid that the prefix tokens leave.
        """


_ASKED = ('in_channels', 'img_size', 'patch_size', 'num_prefix_tokens', 'blocks', 'ref_grid', 'fit_checkpoint')


def find_backbone(model: Any) -> Optional[nn.Module]:
    """Returns the backbone of the family in a model, or the model itself if it is one; None where there is none.

    Args:
        model: Any module, in a wrapper of distributed training or of test-time augmentation or not; None is allowed.
    """
    if is_model_wrapper(model):
        model = model.module
    for part in (getattr(model, 'backbone', None), getattr(getattr(model, 'module', None), 'backbone', None), model):
        # Asked by name, because Python 3.12's isinstance() does not see what PyTorch keeps among the submodules.
        if all(hasattr(part, name) for name in _ASKED):
            return part
    return None
