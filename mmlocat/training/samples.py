"""The data of a runner against its model: how many classes there are, and a guard on every sample."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from torch import nn

from mmlocat.datasets.guard import base_datasets, guard_samples

_HEADS = ('decode_head', 'auxiliary_head', 'head')


def check_samples(model: nn.Module, dataset: Any, name: str) -> None:
    """Compares the classes of a data set with those of the model's heads, and guards its samples.

    Args:
        model: What will see them, without the wrapper of distributed training.
        dataset: Of a data loader that is built; it is changed in place, the config stays as it is. No worker may have
            a copy of it yet.
        name: 'train', 'val' or 'test', for the message.

    Raises:
        ValueError: The data have more classes than a head predicts.
    """
    heads = _heads(model)
    for part in base_datasets(dataset):
        classes = len(part.metainfo.get('classes') or ())
        for key, (predicted, _) in heads.items():
            if classes > predicted:
                raise ValueError(f'{name} data: {type(part).__name__} has {classes} classes, the model predicts '
                                 f'{predicted}; set model.{key}.num_classes={classes}')
    classes, ignored = min(heads.values(), default=(None, 255))
    guard_samples(dataset, classes, ignored)


def _heads(model: nn.Module) -> Dict[str, Tuple[int, int]]:
    """Returns the number of label values and the ignored one of each head, by its key in a config."""
    model = getattr(model, 'module', model)  # inside a model of test-time augmentation
    found = {}
    for key in _HEADS:
        head = getattr(model, key, None)
        several = isinstance(head, (nn.ModuleList, list))
        for i, part in enumerate(head if several else [head]):
            classes = getattr(part, 'num_classes', None)
            if isinstance(classes, int):
                # One class has two label values: it, and what is not.
                found[f'{key}.{i}' if several else key] = (max(classes, 2), getattr(part, 'ignore_index', 255))
    return found
