"""The areas of mmseg's IoU without ``torch.histc``; the IoU of each class, which its metric prints and does not return.
"""

from __future__ import annotations

from typing import List, Optional, Tuple

import torch
from mmengine.evaluator import Evaluator
from mmseg.evaluation import IoUMetric
from torch import Tensor


def class_areas(prediction: Tensor, label: Tensor, classes: int,
                ignored: int) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    """Does what mmseg's ``IoUMetric.intersect_and_union`` does, with the same numbers, by ``torch.bincount``.

    mmseg (1.2.2, and 1.4.2 of OneDL) counts by ``torch.histc``, which has no deterministic version on CUDA for numbers
    with a point (PyTorch 2.1 to 2.14): a deterministic training ended at its first validation. When mmseg counts whole
    numbers, or PyTorch counts those of any kind, this is not needed any more.

    Args:
        prediction: Label map (H, W), of any device.
        label: The true one.
        classes: How many there are; other values are of none.
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
    if classes == 1:  # an interval without width, for which ``histc`` takes that of the values: all of them
        return torch.tensor([float(values.numel())])
    values = values.long()
    values = values[(values >= 0) & (values < classes)]
    return torch.bincount(values, minlength=classes).float().cpu()


def count_class_areas(evaluator: Optional[Evaluator]) -> None:
    """Lets an evaluator's ``IoUMetric`` count by ``class_areas``; one that counts in its own way is left alone.

    Args:
        evaluator: Of a loop that has been built, changed in place; None where the loop, of somebody else's, has none.
    """
    for metric in getattr(evaluator, 'metrics', ()):
        if isinstance(metric, IoUMetric) and type(metric).intersect_and_union is IoUMetric.intersect_and_union:
            metric.intersect_and_union = class_areas


class ClassIoU(IoUMetric):
    """mmseg's ``IoUMetric``, which keeps the IoU of each class and adds nothing to the metrics.

    After a test ``value`` holds them in percent, one a class, None where neither prediction nor truth has it. It is
    None in all processes but the first.
    """

    value: Optional[List[Optional[float]]] = None
    intersect_and_union = staticmethod(class_areas)

    def compute_metrics(self, results: list) -> dict:
        """Keeps the figures; called by mmengine in the first process, with the areas of all images."""
        totals = [sum(areas) for areas in zip(*results)]
        iou = self.total_area_to_metrics(*totals, ['mIoU'])['IoU'] * 100
        self.value = [None if figure != figure else round(float(figure), 4) for figure in iou]
        return {}


def add_class_iou(evaluator: Evaluator) -> Optional[ClassIoU]:
    """Adds a ``ClassIoU`` beside an evaluator's ``IoUMetric``.

    Args:
        evaluator: Of a test loop that has been built; changed in place.

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
