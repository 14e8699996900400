"""Finds the names of the scores that an evaluator will give, without data."""

from __future__ import annotations

from typing import Any, Optional, Set

import torch
from mmengine.evaluator import DumpResults
from mmengine.registry import METRICS
from mmseg.evaluation import IoUMetric

from mmlocat.config import resolve_type

_KNOWN_LIBRARIES = ('mmpretrain', 'mmseg')
_MOST_CLASSES = 1000


def metric_names(evaluator: Any, scope: Optional[str] = None) -> Optional[Set[str]]:
    """Returns the names of the scores of a config's evaluator; None if a metric is not one of the known libraries.

    The metrics of classifiers are asked for the names: each scores one made-up prediction.

    Args:
        evaluator: Config of a metric or an evaluator, or a list of them.
        scope: The library to search first for their types, the config's ``default_scope``.
    """
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        return metric_names(evaluator['metrics'], scope)
    parts = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
    found = [_names(part, scope) for part in parts]
    return None if None in found else set().union(*found)


def _names(settings: Any, scope: Optional[str]) -> Optional[Set[str]]:
    kind = resolve_type(settings, METRICS, scope) if isinstance(settings, dict) else None
    if kind is DumpResults:
        return set()
    if getattr(kind, '__module__', '').split('.')[0] not in _KNOWN_LIBRARIES:
        return None
    writing = ('type', '_scope_', 'output_dir')  # a metric with an output_dir makes that folder
    try:
        metric = kind(**{key: value for key, value in settings.items() if key not in writing})
        if not isinstance(metric, IoUMetric):
            metric.process({}, [_prediction()])
            names = metric.compute_metrics(metric.results)
        elif metric.format_only:
            names = set()
        else:  # not asked: its compute_metrics prints a table
            areas = [torch.ones(2)] * 4
            names = [name if name == 'aAcc' else f'm{name}' for name in metric.total_area_to_metrics(
                *areas, metric.metrics, metric.nan_to_num, metric.beta)]
    except Exception:  # it needs other predictions, or does not take these settings
        return None
    return {f'{metric.prefix}/{name}' if metric.prefix else name for name in names}


def _prediction() -> dict:
    """Returns what a classifier of any number of classes gives for an image, with its label."""
    scores, label = torch.eye(_MOST_CLASSES)[0], torch.zeros(1, dtype=torch.long)
    return dict(pred_score=scores, pred_label=label, gt_label=label, gt_score=scores, num_classes=_MOST_CLASSES)
