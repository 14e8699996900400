"""Checks every sample right after loading for faults that the libraries ignore or report only deep inside.

A label beyond the classes causes an IndexError in the loss on a CPU and a device-side assertion on a GPU, and mmseg's
IoU silently leaves it out. An image with NaN makes every weight NaN.
"""

from __future__ import annotations

from typing import Any, Iterator, List, Optional

import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine.dataset import BaseDataset

_MOST_VALUES = 5  # the most values of a label map that a message shows


class SampleGuard:
    """A pipeline step that checks a sample and does not change it; it goes after the loading steps.

    Args:
        classes: Number of classes that the model predicts; None checks no label.
        ignore_index: The label value that is left out.
    """

    def __init__(self, classes: Optional[int], ignore_index: int = 255) -> None:
        self.classes = classes
        self.ignore_index = ignore_index

    def __call__(self, results: dict) -> dict:
        """Checks the image and label map that are loaded so far, in the dict that mmcv's transforms pass on.

        Raises:
            ValueError: The image holds NaN or infinity, the label map has several channels or another size than the
                image, or a label is beyond the classes; the message names the file.
        """
        image, label_map, label = (results.get(key) for key in ('img', 'gt_seg_map', 'gt_label'))
        if label_map is not None:
            self._check_map(results, label_map)
        elif image is not None and image.dtype.kind == 'f' and not np.isfinite(image).all():
            raise ValueError(f'{results.get("img_path")}: the image holds NaN or infinity; make the file anew, or take '
                             'it out of the data')
        if label is not None:
            self._check_values(results.get('img_path'), np.atleast_1d(label), None)
        return results

    def _check_map(self, results: dict, label_map: np.ndarray) -> None:
        path, loaded = results.get('seg_map_path'), results.get('ori_shape')
        if label_map.ndim != 2:
            raise ValueError(f'{path}: a label map has one channel, got shape {label_map.shape}; convert it to class '
                             'numbers, docs/data.md shows the layouts')
        if loaded is not None and tuple(loaded[:2]) != label_map.shape:
            raise ValueError(
                f'{path}: {label_map.shape[1]} x {label_map.shape[0]} px, but its image {results.get("img_path")} has '
                f"{loaded[1]} x {loaded[0]}; make the label anew, or, if the image's EXIF orientation turned it, give "
                "LoadImageFromFile color_type='color_ignore_orientation' to keep the stored pixels")
        self._check_values(path, label_map, self.ignore_index)

    def _check_values(self, path: Optional[str], labels: np.ndarray, ignored: Optional[int]) -> None:
        if self.classes is None:
            return
        beyond = labels[(labels < 0) | (labels >= self.classes)]
        wrong = np.unique(beyond[beyond != ignored]).tolist()  # sorts these alone: most maps hold the ignored value
        if wrong:
            values = ', '.join(map(str, wrong[:_MOST_VALUES])) + (' ...' if len(wrong) > _MOST_VALUES else '')
            raise ValueError(f'{path}: label values {values}, but the model predicts {self.classes} classes, 0 to '
                             f'{self.classes - 1}; correct the labels, num_classes of the heads, or the data set\'s '
                             'reduce_zero_label; tools/data/check.py lists such files')


def base_datasets(dataset: Any) -> Iterator[BaseDataset]:
    """Yields the data sets inside wrappers such as ConcatDataset and RepeatDataset."""
    if isinstance(dataset, BaseDataset):
        yield dataset
        return
    for inner in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if inner is not None:
            yield from base_datasets(inner)


def guard_samples(dataset: Any, classes: Optional[int], ignore_index: int = 255) -> int:
    """Inserts a ``SampleGuard`` after every loading step in the pipelines of a built data set, and counts them.

    The data set may be wrapped; it is changed in place, its config stays as it is.
    """
    guard = SampleGuard(classes, ignore_index)
    return sum(_guard(base.pipeline.transforms, guard) for base in base_datasets(dataset))


def _guard(steps: List[Any], guard: SampleGuard) -> int:
    count = 0
    for i in reversed(range(len(steps))):
        for branch in getattr(steps[i], 'subroutines', []):  # of test-time augmentation
            count += _guard(branch.transforms, guard)
        if isinstance(steps[i], (LoadImageFromFile, LoadAnnotations)):
            steps.insert(i + 1, guard)
            count += 1
    return count
