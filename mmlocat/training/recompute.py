"""Makes ``activation_checkpointing`` of a config work above frozen blocks too."""

from __future__ import annotations

from contextlib import contextmanager
from functools import wraps
from operator import attrgetter
from typing import Callable, Iterator, List, Union

import mmengine.runner.runner as mmengine_runner
from mmengine.config import Config
from mmengine.runner import FlexibleRunner
from torch import nn
from torch.utils.checkpoint import checkpoint

from .context import Context


def check_recomputing_runner(config: Config, context: Context) -> List[str]:
    """Refuses ``activation_checkpointing`` for a Runner that ignores it.

    Raises:
        ValueError: The Runner is mmengine's FlexibleRunner.
    """
    if config.get('activation_checkpointing') is not None and issubclass(context.runner_class, FlexibleRunner):
        raise ValueError('FlexibleRunner ignores activation_checkpointing; to recompute the blocks of the backbone use '
                         '--cfg-options model.backbone.with_cp=True')
    return []


def check_recomputed(config: Config, context: Context) -> List[str]:
    """Makes sure that a model has the modules that ``activation_checkpointing`` names.

    Raises:
        ValueError: It names a module that the model does not have.
    """
    names = config.get('activation_checkpointing') or []
    known = dict(context.model.named_modules())
    for name in [names] if isinstance(names, str) else names:
        if name not in known:
            raise ValueError(f'activation_checkpointing names {name!r}, which this model has not; for all blocks of '
                             'the backbone use --cfg-options model.backbone.with_cp=True')
    return []


def recompute_activations(model: nn.Module, names: Union[str, List[str]]) -> None:
    """Recomputes the activations of modules in the backward pass instead of keeping them.

    mmengine's ``turn_on_activation_checkpointing`` uses PyTorch's reentrant variant: a module whose input needs no
    gradient, such as the first block above frozen ones, then silently gets no gradient, nor does any block after it.

    Args:
        model: The model, changed in place.
        names: Dotted names of its modules.
    """
    for name in [names] if isinstance(names, str) else names:
        module = attrgetter(name)(model)
        module.forward = _recomputing(module.forward)


def _recomputing(forward: Callable) -> Callable:
    @wraps(forward)
    def wrapper(*args, **kwargs):
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return wrapper


@contextmanager
def sound_recomputation() -> Iterator[None]:
    """Replaces mmengine's function by ``recompute_activations`` while its Runner trains; it offers no other way."""
    own = mmengine_runner.turn_on_activation_checkpointing
    mmengine_runner.turn_on_activation_checkpointing = recompute_activations
    try:
        yield
    finally:
        mmengine_runner.turn_on_activation_checkpointing = own
