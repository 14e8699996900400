"""Builds the paper's models by name, with weights, on PyTorch alone."""

from __future__ import annotations

import logging
from copy import copy
from typing import Any, Optional

from mmlocat.checkpoints import CheckpointError, read_checkpoint
from mmlocat.utils import suggestion

from .model import HEAD, VisionTransformer

_SIZES = dict(tiny=(192, 12, 3), small=(384, 12, 6), base=(768, 12, 12))
# Channels, blocks and heads of each size (paper, models), with and without GAug and PRR.
_MODELS = {f'{kind}_{size}': dict(embed_dims=dims, num_layers=layers, num_heads=heads, gaug=locat, prr=locat)
           for size, (dims, layers, heads) in _SIZES.items() for kind, locat in (('locatvit', True), ('vit', False))}


def create_model(name: str, pretrained: Optional[str] = None, num_classes: Optional[int] = None, *,
                 trust_pickle: bool = False, **arguments: Any) -> VisionTransformer:
    """Builds LocAtViT or the plain ViT without OpenMMLab.

    Args:
        name: 'locatvit_tiny', 'locatvit_small', 'locatvit_base', or 'vit_...' for the plain model.
        pretrained: Weights as ``read_checkpoint`` takes them, such as a file or 'hf://sinahmr/locatvit_tiny': of a
            whole classifier, under any library's names. Defaults to none: weights are drawn.
        num_classes: Outputs of the head. Defaults to those of the weights, without weights to 1000. If the weights have
            another number or no head, it starts anew, which the log says; 0 builds no head.
        trust_pickle: Whether a pickle may hold any type; it can then run code.
        **arguments: Others of ``VisionTransformer``, such as img_size, num_registers, with_pos_embed and rope.

    Returns:
        The model, in evaluation mode if it has weights. Its ``forward`` gives logits, ``forward_features`` tokens,
        ``feature_maps`` maps.

    Raises:
        ValueError: There is no such model, or an argument is invalid.
        FileNotFoundError: There are no such weights.
        RuntimeError: They cannot be read, do not fit, or have no head although ``num_classes`` is not given.
    """
    if name not in _MODELS:
        raise ValueError(f'no model is named {name!r}{suggestion(name, _MODELS)}; there are {", ".join(_MODELS)}')
    if pretrained is None:
        return VisionTransformer(**{**_MODELS[name], 'num_classes': 1000 if num_classes is None else num_classes,
                                    **arguments})
    read = read_checkpoint(pretrained, trust_pickle=trust_pickle)
    head = [key for key in read.state_dict if HEAD.search(key)]
    biases = [len(read.state_dict[key]) for key in head if key.endswith('bias')]
    found = biases[0] if len(biases) == 1 else None
    if num_classes is None and found is None:
        raise CheckpointError(f'{pretrained} has no classification head; give num_classes=0 for features alone, or the '
                              'number of classes of a head that starts anew')
    model = VisionTransformer(**{**_MODELS[name], 'num_classes': found if num_classes is None else num_classes,
                                 **arguments})
    weights, allowed = copy(read.state_dict), model.allow_partial  # copy() keeps _metadata
    if num_classes is not None and num_classes != found:
        for key in head:
            del weights[key]
        model.allow_partial = (*allowed, 'head.')
        logging.getLogger('mmlocat').info('%s: %s; %s.', read.source,
                                          f'its head is left out: {", ".join(head)}' if head else 'it has no head',
                                          f'that of {num_classes} classes starts anew' if num_classes else
                                          'the model has none')
    try:
        model.load_state_dict(weights, strict=False)  # the model's own hook is strict
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f'{read.source}: {error}') from error
    model.allow_partial = allowed
    return model.eval()
