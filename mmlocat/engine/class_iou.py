"""The IoU of each class, which mmseg's metric prints and does not return."""

from __future__ import annotations

from typing import List, Optional

from mmengine.evaluator import Evaluator
from mmseg.evaluation import IoUMetric


class ClassIoU(IoUMetric):
    """mmseg's ``IoUMetric``, which keeps the IoU of each class and adds nothing to the metrics.

    After a test ``value`` holds them in percent, one a class, None where neither prediction nor truth has it. It is
    None in all processes but the first.
    """

    value: Optional[List[Optional[float]]] = None

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
