"""Compares the classes of a Runner's data with its model's, and adds a check to every sample."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from torch import nn

from mmlocat.datasets.guard import base_datasets, guard_samples

_HEADS = ('decode_head', 'auxiliary_head', 'head')


def check_samples(model: nn.Module, dataset: Any, name: str) -> None:
    """Compares the classes of a data set with those of the model's heads, and adds a check to its samples.

    Args:
        model: The model that will see the samples, without the wrapper of distributed training.
        dataset: The data set of a built data loader; changed in place, the config stays as it is. No worker may have
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
                # A single class has two label values: the class and the background.
                found[f'{key}.{i}' if several else key] = (max(classes, 2), getattr(part, 'ignore_index', 255))
    return found
