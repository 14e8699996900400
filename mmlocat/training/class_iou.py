"""Counts the areas of mmseg's IoU without ``torch.histc``, and keeps the IoU of each class, which mmseg only prints."""

from __future__ import annotations

from typing import List, Optional, Tuple

import torch
from mmengine.evaluator import Evaluator
from mmseg.evaluation import IoUMetric
from torch import Tensor


def class_areas(prediction: Tensor, label: Tensor, classes: int,
                ignored: int) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    """Computes what mmseg's ``IoUMetric.intersect_and_union`` does, with the same results, by ``torch.bincount``.

    mmseg (1.2.2, and 1.4.2 of OneDL) counts by ``torch.histc``, which has no deterministic version on CUDA for
    floating-point numbers (PyTorch 2.1 to 2.14): a deterministic training ended at its first validation. When mmseg
    counts integers, or PyTorch counts any dtype deterministically, this is not needed any more.

    Args:
        prediction: Label map (H, W), on any device.
        label: The true label map.
        classes: Number of classes; other values belong to no class.
        ignored: The value in ``label`` of pixels that do not count.

    Returns:
        Intersection, union, predicted and true area of each class in pixels, on the CPU.
    """
    counted = label != ignored
    prediction, label = prediction[counted], label[counted]
    common, predicted, true = (_count(values, classes) for values in (
        prediction[prediction == label], prediction, label))
    return common, predicted + true - common, predicted, true


def _count(values: Tensor, classes: int) -> Tensor:
    """Counts each class in float32, as ``histc`` does, which is exact up to 16,777,216 pixels of an image."""
    if classes == 1:  # min equals max, for which ``histc`` uses the range of the values: it counts all of them
        return torch.tensor([float(values.numel())])
    values = values.long()
    values = values[(values >= 0) & (values < classes)]
    return torch.bincount(values, minlength=classes).float().cpu()


def count_class_areas(evaluator: Optional[Evaluator]) -> None:
    """Makes an evaluator's ``IoUMetric`` count by ``class_areas``; a subclass with its own counting is left alone.

    Args:
        evaluator: The evaluator of a built loop, changed in place; None if a custom loop has none.
    """
    for metric in getattr(evaluator, 'metrics', ()):
        if isinstance(metric, IoUMetric) and type(metric).intersect_and_union is IoUMetric.intersect_and_union:
            metric.intersect_and_union = class_areas


class ClassIoU(IoUMetric):
    """Keeps the IoU of each class, as mmseg's ``IoUMetric`` computes it, and adds nothing to the metrics.

    After a test ``value`` holds one IoU per class in percent, None for a class that neither prediction nor label
    contains. In all processes but the first ``value`` is None.
    """

    value: Optional[List[Optional[float]]] = None
    intersect_and_union = staticmethod(class_areas)

    def compute_metrics(self, results: list) -> dict:
        """Stores the IoU of each class; mmengine calls this in the first process, with the areas of all images."""
        totals = [sum(areas) for areas in zip(*results)]
        iou = self.total_area_to_metrics(*totals, ['mIoU'])['IoU'] * 100
        self.value = [None if figure != figure else round(float(figure), 4) for figure in iou]
        return {}


def add_class_iou(evaluator: Evaluator) -> Optional[ClassIoU]:
    """Adds a ``ClassIoU`` beside an evaluator's ``IoUMetric``.

    Args:
        evaluator: The evaluator of a built test loop; changed in place.

    Returns:
        The added metric; None where no IoU is evaluated.
    """
    for metric in evaluator.metrics:
        if isinstance(metric, IoUMetric) and not metric.format_only:
            added = ClassIoU(ignore_index=metric.ignore_index, collect_device=metric.collect_device)
            added.dataset_meta = evaluator.dataset_meta
            evaluator.metrics.append(added)
            return added
    return None
