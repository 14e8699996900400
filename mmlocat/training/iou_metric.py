"""Adds to mmseg's ``IoUMetric``: deterministic counting on a GPU, label maps in folders, and the IoU of each class."""

from __future__ import annotations

import os.path as osp
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.evaluator import Evaluator
from mmseg.evaluation import IoUMetric
from torch import Tensor
from torch.utils.data import Dataset

from mmlocat.datasets.guard import base_datasets


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


def keep_image_folders(evaluator: Optional[Evaluator], dataset: Dataset) -> None:
    """Makes an evaluator's ``IoUMetric`` write label maps into the folders of their images, below its ``output_dir``.

    mmseg (1.2.2, and 1.4.2 of OneDL) names a label map by the image's file name alone: of images with equal names in
    several folders, the last one's was left. Where that name is all there is, a process refuses to write over the label
    map that it has written for another image.

    Args:
        evaluator: The evaluator of a built loop, changed in place; None if a custom loop has none.
        dataset: The data set that it evaluates. Of one that is not mmengine's, wrapped or not, mmseg's names stay, and
            so they do where its records have no ``img_path``.
    """
    writing = [metric for metric in getattr(evaluator, 'metrics', ())
               if isinstance(metric, IoUMetric) and metric.output_dir]
    if not writing:
        return
    parts = list(base_datasets(dataset))
    records = (part.get_data_info(i) for part in parts for i in range(len(part)))
    images = [record['img_path'] for record in records if record.get('img_path')]
    roots = [part.data_prefix['img_path'] for part in parts if part.data_prefix.get('img_path')]
    names = label_map_names(images, roots) if images else {}
    for metric in writing:
        _write_into_folders(metric, names)


def label_map_names(images: Sequence[str], roots: Sequence[str] = ()) -> Dict[str, str]:
    """Returns a path for each image's label map, without suffix, below the folder that all images have in common.

    Args:
        images: Paths of the images. Of those that differ in the suffix alone, the names keep it.
        roots: Folders that are not to be part of the names, such as the data set's own.
    """
    common = osp.commonpath([osp.abspath(path) for path in (*roots, *map(osp.dirname, images))])
    names = {image: osp.relpath(osp.abspath(image), common) for image in images}
    count = Counter(osp.splitext(name)[0] for name in names.values())
    return {image: name if count[osp.splitext(name)[0]] > 1 else osp.splitext(name)[0] for image, name in names.items()}


def _write_into_folders(metric: IoUMetric, names: Dict[str, str]) -> None:
    process, folder = metric.process, Path(metric.output_dir)
    written: Dict[Path, str] = {}  # the image of each label map; it may come again, as in the next validation

    def process_each(data_batch: Any, data_samples: List[dict]) -> None:
        for sample in data_samples:
            image = sample['img_path']
            # A pipeline may have put another path into the sample than the data set has.
            target = folder / names.get(image, Path(image).stem)
            if written.setdefault(target, image) != image:
                raise ValueError(f'{target}.png would hold the label maps of both {written[target]} and {image}: give '
                                 'these images file names of their own, or let the pipeline leave img_path as the data '
                                 'set has it, which gives each folder one of its own')
            target.parent.mkdir(parents=True, exist_ok=True)
            metric.output_dir = str(target.parent)
            process(data_batch, [{**sample, 'img_path': f'{target.name}.png'}])  # it takes the name from there
        metric.output_dir = str(folder)

    metric.process = process_each


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
