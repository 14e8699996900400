"""Makes ``activation_checkpointing`` of a config work above frozen blocks too."""

from __future__ import annotations

from functools import partial
from typing import List

from mmengine.config import Config
from mmengine.runner import FlexibleRunner, activation_checkpointing
from torch.utils.checkpoint import checkpoint

from .context import Context


def check_recomputed(config: Config, context: Context) -> List[str]:
    """Makes sure that a training can recompute what ``activation_checkpointing`` names, and does so soundly.

    mmengine takes PyTorch's reentrant variant: a module whose input needs no gradient, such as the first block above
    frozen ones, then silently gets no gradient, nor does any block after it. This makes it take the other one.

    Raises:
        ValueError: The model has no such module, or the Runner ignores the setting.
    """
    names = config.get('activation_checkpointing') or []
    advice = 'to recompute the blocks of the backbone use --cfg-options model.backbone.with_cp=True'
    if names and isinstance(context.runner, FlexibleRunner):
        raise ValueError(f'FlexibleRunner ignores activation_checkpointing; {advice}')
    known = dict(context.model.named_modules())
    for name in [names] if isinstance(names, str) else names:
        if name not in known:
            raise ValueError(f'activation_checkpointing names {name!r}, which this model has not; {advice}')
    if names:
        activation_checkpointing.checkpoint = partial(checkpoint, use_reentrant=False)
    return []
