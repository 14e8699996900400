"""Intersection over union of retrieved label maps, with and without the published matching of classes."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .hummingbird import IGNORED, check_classes, check_protocol


class ClassScores(NamedTuple):
    """Pixels of each class after matching, shape (classes, ) each, and the mean IoU as a share of 1.

    Attributes:
        true_positive: Pixels of the class predicted as the class.
        false_positive: Pixels of other classes predicted as the class.
        false_negative: Pixels of the class predicted as others.
        mean_iou: As the protocol averages it.
    """
    true_positive: Tensor
    false_positive: Tensor
    false_negative: Tensor
    mean_iou: float


def score_confusion(confusion: Tensor, protocol: str = 'published') -> ClassScores:
    """Scores a confusion matrix.

    Args:
        confusion: Pixels by predicted class (rows) and label (columns), shape (classes, classes); without ignored ones.
        protocol: 'published' matches predicted classes to labels one to one so that the sum of IoUs is largest
            (Hungarian algorithm), and a class that occurs nowhere counts as IoU 0. 'clean' compares classes as they
            are and leaves such a class out of the mean.

    Returns:
        Counts by label, and the mean IoU.

    Raises:
        ValueError: The protocol does not exist.
    """
    check_protocol(protocol)
    confusion = confusion.double()
    if protocol == 'published':
        union = confusion.sum(1, keepdim=True) + confusion.sum(0, keepdim=True) - confusion
        predicted, label = linear_sum_assignment((confusion / union.clamp(min=1)).numpy(), maximize=True)
        order = torch.empty(len(label), dtype=torch.long)
        order[torch.from_numpy(label)] = torch.from_numpy(predicted)
        confusion = confusion[order]
    hit = confusion.diagonal()
    wrong, missed = confusion.sum(1) - hit, confusion.sum(0) - hit
    union = hit + wrong + missed
    iou = hit / union.clamp(min=1)
    if protocol == 'clean':
        iou = iou[union > 0]
    return ClassScores(hit.long(), wrong.long(), missed.long(), float(iou.mean()) if len(iou) else float('nan'))


@METRICS.register_module()
class RetrievalIoU(BaseMetric):
    """Reports the mIoU in percent of label maps that were retrieved, not predicted by a head.

    Args:
        num_classes: Number of classes. Defaults to those of the data set, set by the loop.
        ignore_index: Label that is not scored besides 255. Defaults to none.
        protocol: 'published' or 'clean', see :func:`score_confusion`. Defaults to the loop's.
        **kwargs: ``collect_device`` and ``prefix`` of mmengine's ``BaseMetric``.
    """

    def __init__(self, num_classes: Optional[int] = None, ignore_index: int = IGNORED,
                 protocol: Optional[str] = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.ignore_index, self.protocol = num_classes, ignore_index, protocol

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Counts the pixels of each pair of predicted class and label in each image.

        Raises:
            ValueError: A label is neither a class nor ignored.
        """
        for sample in data_samples:
            predicted = sample['pred_sem_seg']['data'].flatten().cpu()
            label = sample['gt_sem_seg']['data'].flatten().cpu().long()
            scored = (label != IGNORED) & (label != self.ignore_index)
            # Larger than the last class, it would be counted as a pair of other classes.
            check_classes(label[scored], self.num_classes, sample.get('seg_map_path') or sample.get('img_path'))
            pairs, counts = (predicted[scored] * self.num_classes + label[scored]).unique(return_counts=True)
            self.results.append((pairs, counts))  # a few numbers an image; the matrix of one has 22,801 on ADE20K

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        """Scores the confusion matrix of all images."""
        confusion = torch.zeros(self.num_classes**2, dtype=torch.long)
        for pairs, counts in results:
            confusion.index_add_(0, pairs, counts)
        scores = score_confusion(confusion.view(self.num_classes, -1), self.protocol)
        return {'mIoU': 100 * scores.mean_iou}


@METRICS.register_module()
class KNNAccuracy(BaseMetric):
    """Reports top-1 and top-5 accuracy in percent, for each number of neighbours that voted.

    Args:
        **kwargs: ``collect_device`` and ``prefix`` of mmengine's ``BaseMetric``.
    """

    default_prefix = 'knn'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keeps the five best classes of each image."""
        for sample in data_samples:
            best = {k: scores.topk(min(5, len(scores))).indices.tolist() for k, scores in sample['knn_scores'].items()}
            self.results.append((best, int(sample['gt_label'])))

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        """Averages over images."""
        metrics = {}
        for k in results[0][0]:
            for top in (1, 5):
                hits = sum(label in best[k][:top] for best, label in results)
                metrics[f'top{top}_k{k}'] = 100 * hits / len(results)
        return metrics
