"""Defines the interface of a LocAt backbone; any class that has it works with the rest of mmlocat."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Protocol, Sequence, Tuple

from mmengine.model import is_model_wrapper
from torch import nn

from mmlocat.attention.kernel import Grid


class LocAtBackbone(Protocol):
    """A vision transformer that knows the grid of its pretraining, with GAug or as its plain baseline.

    Its attention is found by ``GaussianAttention`` modules, not through this protocol. ``base.LocAtBase`` implements
    the common part of such backbones.

    Attributes:
        in_channels: Channels of its images.
        img_size: (height, width) of pretraining in px.
        patch_size: (height, width) of a patch in px.
        num_prefix_tokens: P; the first P tokens of a block are not patches.
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

    def fit_checkpoint(self, state_dict: Dict[str, Any], prefix: str = '', metadata: Optional[Mapping] = None) -> Any:
        """Converts a checkpoint to this backbone's names and shapes, in place; anything that does not fit is an error.

        Args:
            state_dict: Weights of the backbone, or of a model around it.
            prefix: The prefix of the backbone's names in it.
            metadata: The state dict's metadata for this module; the keys 'ref_grid' and 'embedding_grid' are read.

        Returns:
            A report, whose text is for the log.

        Raises:
            RuntimeError: Weights are missing, left over, of another shape or not finite.
            ValueError: The position embedding has no grid that the prefix tokens leave.
        """


_ASKED = ('in_channels', 'img_size', 'patch_size', 'num_prefix_tokens', 'blocks', 'ref_grid', 'fit_checkpoint')


def find_backbone(model: Any) -> Optional[nn.Module]:
    """Returns the LocAt backbone in a model, or the model itself if it is one; None if there is none.

    Args:
        model: Any module, with or without a wrapper of distributed training or test-time augmentation; or None.
    """
    if is_model_wrapper(model):
        model = model.module
    for part in (getattr(model, 'backbone', None), getattr(getattr(model, 'module', None), 'backbone', None), model):
        # hasattr instead of isinstance(), which since Python 3.12 does not see PyTorch's submodules.
        if all(hasattr(part, name) for name in _ASKED):
            return part
    return None
