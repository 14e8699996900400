"""``activation_checkpointing`` of a config, so that it also works above frozen blocks."""

from __future__ import annotations

from contextlib import contextmanager
from functools import wraps
from operator import attrgetter
from typing import Callable, Iterator, List, Union

import mmengine.runner.runner as mmengine_runner
from torch import nn
from torch.utils.checkpoint import checkpoint


def check_recomputed(model: nn.Module, names: Union[str, List[str]]) -> None:
    """Makes sure that a model has the modules whose activations are to be recomputed.

    Args:
        model: The model.
        names: Dotted names, as ``activation_checkpointing`` has them.

    Raises:
        ValueError: One is no module of the model.
    """
    known = dict(model.named_modules())
    for name in [names] if isinstance(names, str) else names:
        if name not in known:
            raise ValueError(f'activation_checkpointing names {name!r}, which this model has not; for all blocks of '
                             'the backbone use --cfg-options model.backbone.with_cp=True')


def recompute_activations(model: nn.Module, names: Union[str, List[str]]) -> None:
    """Recomputes the activations of modules in the backward pass instead of keeping them.

    mmengine's ``turn_on_activation_checkpointing`` takes PyTorch's reentrant variant: a module whose input needs no
    gradient, such as the first block above frozen ones, then gets none, nor does any block after it. Nothing says so.

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
    """Lets mmengine's Runner, which offers no other way, call ``recompute_activations`` instead of its own."""
    own = mmengine_runner.turn_on_activation_checkpointing
    mmengine_runner.turn_on_activation_checkpointing = recompute_activations
    try:
        yield
    finally:
        mmengine_runner.turn_on_activation_checkpointing = own
