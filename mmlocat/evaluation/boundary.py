"""Boundary IoU: how well label maps agree along the contours of what they show."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Sequence, Tuple

import cv2
import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS


def boundary_areas(prediction: np.ndarray, label: np.ndarray, num_classes: int, ignore_index: int = 255,
                   share: float = 0.02) -> Tuple[np.ndarray, np.ndarray]:
    """Counts, for each class, the pixels near its contours in both of prediction and label, and in either.

    Near is what a step of at most d pixels in each direction brings out of the class or of the image. An ignored pixel
    is of no class in both maps, and near a contour of neither.

    Args:
        prediction: Shape (H, W).
        label: Shape (H, W).
        num_classes: Number of classes.
        ignore_index: Label of pixels that are left out.
        share: d as a share of the image's diagonal; at least 1 px.

    Returns:
        Intersection and union, shape (num_classes, ) each.
    """
    distance = max(1, round(share * math.hypot(*label.shape)))
    kernel = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    areas = np.zeros((2, num_classes), np.int64)
    scored = label != ignore_index
    for number in range(num_classes):
        near = []
        for labels in (prediction, label):
            mask = ((labels == number) & scored).astype(np.uint8)
            near.append(mask > cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0))
        areas[:, number] = (near[0] & near[1]).sum(), (near[0] | near[1]).sum()
    return areas[0], areas[1]


@METRICS.register_module()
class BoundaryIoU(BaseMetric):
    """Reports the mean over classes, in percent, of the IoU of what lies near contours.

    Pixels of all images are counted together; a class near whose contours neither prediction nor label has a pixel is
    left out of the mean. Source: *Boundary IoU: Improving Object-Centric Image Segmentation Evaluation* (arXiv
    2103.16562), applied to semantic label maps.

    Args:
        ignore_index: Label of pixels that are left out. Defaults to 255.
        share: Greatest distance from a contour, as a share of the image's diagonal; at least 1 px. Defaults to 0.02.
        **kwargs: ``collect_device`` and ``prefix`` of mmengine's ``BaseMetric``.
    """

    def __init__(self, ignore_index: int = 255, share: float = 0.02, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_index, self.share = ignore_index, share

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Counts the pixels near contours in each image."""
        for sample in data_samples:
            maps = (sample[name]['data'].squeeze().cpu().numpy() for name in ('pred_sem_seg', 'gt_sem_seg'))
            self.results.append(boundary_areas(*maps, len(self.dataset_meta['classes']), self.ignore_index, self.share))

    def compute_metrics(self, results: List[Tuple[np.ndarray, np.ndarray]]) -> Dict[str, float]:
        """Divides the counts of all images."""
        intersection, union = (sum(counts) for counts in zip(*results))
        found = union > 0
        return {'mBoundaryIoU': 100 * float(np.mean(intersection[found] / union[found]))}
