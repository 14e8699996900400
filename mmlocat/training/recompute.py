"""Makes ``activation_checkpointing`` of a config work above frozen blocks too."""

from __future__ import annotations

from functools import partial, wraps
from typing import Callable, ContextManager, List
from unittest.mock import patch

from mmengine.config import Config
from mmengine.runner import FlexibleRunner, activation_checkpointing
from torch.utils.checkpoint import checkpoint

from .context import Context


def check_recomputed(config: Config, context: Context) -> List[str]:
    """Makes sure that a training can recompute what ``activation_checkpointing`` names.

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
    return []


def sound_recomputation() -> ContextManager:
    """Makes mmengine's Runner take PyTorch's other variant, while it trains; pass keywords of a module too.

    With the reentrant variant, which mmengine takes, a module whose input needs no gradient, such as the first block
    above frozen ones, silently gets no gradient, nor does any block after it.
    """
    return patch.object(activation_checkpointing, 'wrap_forward', _recomputing)


def _recomputing(forward: Callable) -> Callable:
    return wraps(forward)(partial(checkpoint, forward, use_reentrant=False))
