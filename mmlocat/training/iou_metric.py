"""Adds to mmseg's ``IoUMetric``: counting that a deterministic training on a GPU allows, and the IoU of each class."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
from mmengine.evaluator import Evaluator
from mmseg.evaluation import IoUMetric
from torch import Tensor


def areas_on_cpu(prediction: Tensor, label: Tensor, *args: Any) -> Tuple[Tensor, ...]:
    """Counts the areas of a label map (H, W) as mmseg's ``IoUMetric.intersect_and_union`` does, on the CPU.

    mmseg (1.2.2, and 1.4.2 of OneDL) counts by ``torch.histc``, which has no deterministic version on CUDA for
    floating-point numbers (PyTorch 2.1 to 2.14): a deterministic training ended at its first validation. When mmseg
    counts integers, or PyTorch counts any dtype deterministically, this is not needed any more.
    """
    return IoUMetric.intersect_and_union(prediction.cpu(), label.cpu(), *args)


def count_class_areas(evaluator: Optional[Evaluator]) -> None:
    """Makes an evaluator's ``IoUMetric`` count on the CPU, if the job is deterministic.

    Args:
        evaluator: The evaluator of a built loop, changed in place; None if a custom loop has none. A subclass with its
            own counting is left alone.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return
    for metric in getattr(evaluator, 'metrics', ()):
        if isinstance(metric, IoUMetric) and type(metric).intersect_and_union is IoUMetric.intersect_and_union:
            metric.intersect_and_union = areas_on_cpu


def keep_class_iou(evaluator: Evaluator) -> Optional[IoUMetric]:
    """Makes an evaluator's ``IoUMetric`` keep the IoU of each class, which mmseg only prints.

    Args:
        evaluator: The evaluator of a built test loop; changed in place.

    Returns:
        The metric; None where no IoU is evaluated. After a test its ``class_iou`` holds one IoU per class in percent,
        None for a class that neither prediction nor label contains. It is None in all processes but the first.
    """
    metrics = [metric for metric in evaluator.metrics if isinstance(metric, IoUMetric) and not metric.format_only]
    if not metrics:
        return None
    metric, compute = metrics[0], metrics[0].compute_metrics

    def compute_metrics(results: list) -> dict:
        iou = metric.total_area_to_metrics(*(sum(areas) for areas in zip(*results)), ['mIoU'])['IoU'] * 100
        metric.class_iou = [None if figure != figure else round(float(figure), 4) for figure in iou]
        return compute(results)

    metric.class_iou, metric.compute_metrics = None, compute_metrics
    return metric
