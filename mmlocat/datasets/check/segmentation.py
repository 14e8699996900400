"""Checks the files of a data set of mmseg: folders, pairs, suffixes."""

from __future__ import annotations

import os.path as osp
from typing import Dict, List, Optional, Set

import mmengine.fileio as fileio
import numpy as np
from mmengine.fileio import list_from_file
from mmseg.datasets import BaseSegDataset

from .reading import IMAGE_SUFFIXES, Sample, list_files
from .report import Report


def check_segmentation(dataset: BaseSegDataset, report: Report) -> List[Sample]:
    """Reports faults of folders, lists, pairs and suffixes.

    Args:
        dataset: The data set, built with ``lazy_init=True``.
        report: The report to fill in.

    Returns:
        The samples that are complete.
    """
    advice, backend = report.advice, dataset.backend_args
    image_dir, label_dir = dataset.data_prefix['img_path'], dataset.data_prefix.get('seg_map_path')
    for kind, folder, fix in (('images', image_dir, advice.images), ('labels', label_dir, advice.labels)):
        if folder is not None and not fileio.isdir(folder, backend):
            report.error(f'folder of {kind} {folder} does not exist', fix)
    if dataset.ann_file and not fileio.exists(dataset.ann_file, backend):
        report.error(f'split file {dataset.ann_file} does not exist', advice.labels)
    if report.errors:
        return []
    names = _image_names(dataset, report)
    report.images = len(names)
    if label_dir is None or not names:
        return [Sample(osp.join(image_dir, name + dataset.img_suffix)) for name in names]
    labelled = _labelled(dataset, report, names)
    report.labels = len(labelled)
    return [Sample(osp.join(image_dir, name + dataset.img_suffix), osp.join(label_dir, name + dataset.seg_map_suffix))
            for name in names if name in labelled]


def _stems(files: List[str], suffix: str) -> Set[str]:
    """Returns the names, without suffix, of the files that end in ``suffix``."""
    return {name[:len(name) - len(suffix)] for name in files if name.endswith(suffix)}


def _images_by_stem(files: List[str]) -> Dict[str, str]:
    """Returns image files by their names without extension."""
    parts = ((osp.splitext(name), name) for name in files)
    return {stem: name for (stem, extension), name in parts if extension.lower() in IMAGE_SUFFIXES}


def _image_names(dataset: BaseSegDataset, report: Report) -> List[str]:
    """Returns the names, without suffix, of the images that are used and exist."""
    folder, suffix, advice = dataset.data_prefix['img_path'], dataset.img_suffix, report.advice
    files = list_files(folder, dataset.backend_args)
    present = _stems(files, suffix)
    other = {stem: name for stem, name in _images_by_stem(files).items()
             if not name.endswith(suffix) and stem not in present}
    if dataset.data_prefix.get('seg_map_path') == folder:
        other = {stem: name for stem, name in other.items() if not name.endswith(dataset.seg_map_suffix)}
    if not dataset.ann_file or fileio.isdir(dataset.ann_file, dataset.backend_args):
        report.some(f'images that do not end in {suffix} and are left out', sorted(other.values()), None,
                    advice.image_suffix, f' in {folder}')
        if not other and not present:
            report.error(f'no file in {folder} ends in {suffix}', advice.images)
        return sorted(present)
    split = dataset.ann_file
    named = [line.strip() for line in list_from_file(split, backend_args=dataset.backend_args)]
    if not named:
        report.error(f'split file {split} names no image', advice.labels)
    normal = {name: osp.normpath(name) for name in named}
    lacking = [name for name in named if normal[name] not in present]
    report.some(f'images named in {split} that do not end in {suffix}',
                [other[normal[name]] for name in lacking if normal[name] in other], len(named), advice.image_suffix)
    report.some(f'images named in {split} that do not exist',
                [name + suffix for name in lacking if normal[name] not in other], len(named), advice.images)
    return [normal[name] for name in named if normal[name] in present]


def _labelled(dataset: BaseSegDataset, report: Report, names: List[str]) -> Set[str]:
    """Returns the names that have a label; reports the others, and labels without image."""
    image_dir, folder = dataset.data_prefix['img_path'], dataset.data_prefix['seg_map_path']
    suffix, advice = dataset.seg_map_suffix, report.advice
    files = list_files(folder, dataset.backend_args)
    present = _stems(files, suffix)
    # A label with another suffix is reported only if the right one is missing: COCO-Stuff keeps unconverted labels too.
    candidates = {} if folder == image_dir else _images_by_stem(files)
    without = [name for name in names if name not in present]
    report.some(f'labels that do not end in {suffix}', [candidates[name] for name in without if name in candidates],
                len(names), advice.label_suffix, f' in {folder}')
    report.some(f'images whose label is missing in {folder}',
                [name + suffix for name in without if name not in candidates], len(names), advice.labels)
    # Images that a split file does not name belong to other splits in the same folder.
    images = set(names)
    if dataset.ann_file and present - images:
        images = _stems(list_files(image_dir, dataset.backend_args), dataset.img_suffix)
    report.some(f'labels whose image is missing in {image_dir}', sorted(name + suffix for name in present - images),
                len(present), advice.images)
    return present.intersection(names)


def allowed_values(dataset: BaseSegDataset) -> Optional[np.ndarray]:
    """Returns which values a label file may hold, before ``reduce_zero_label`` and ``label_map`` are applied.

    Args:
        dataset: A data set of mmseg.

    Returns:
        Shape (256,), True for allowed values; None if the data set names no classes.
    """
    classes = dataset.METAINFO.get('classes') if dataset.label_map else dataset.metainfo.get('classes')
    if not classes:
        return None
    allowed = np.zeros(256, bool)
    allowed[:len(classes) + bool(dataset.reduce_zero_label)] = True
    allowed[255] = True  # mmseg's value for "ignored", which its transforms use too
    if 0 <= dataset.ignore_index < 256:
        allowed[dataset.ignore_index] = True
    return allowed
