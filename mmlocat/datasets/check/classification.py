"""Checks a data set of mmpretrain: class folders or a list, labels, images."""

from __future__ import annotations

import os.path as osp
from typing import List, Optional, Sequence

import mmengine.fileio as fileio
from mmengine.fileio import list_from_file
from mmpretrain.datasets import CustomDataset

from .reading import UNREADABLE_IMAGE, Sample, draw_sample, read_samples
from .report import Report, examples
from .segmentation import IMAGE_SUFFIXES
from .sources import Advice


def check_classification(dataset: CustomDataset, report: Report, advice: Advice, files: Optional[int], seed: int,
                         progress: str, model_classes: Optional[int]) -> None:
    """Fills in the report of one data set; see ``check_segmentation``.

    Args:
        dataset: Built with ``lazy_init=True``.
        report: To fill in.
        advice: The commands that mend it.
        files: How many images to open; None opens all.
        seed: Of the choice.
        progress: Title of a progress bar; none without.
        model_classes: How many classes the model predicts, for data sets that do not name theirs.
    """
    folder = dataset.img_prefix
    if folder and not fileio.isdir(folder):
        report.error(f'folder of images {folder} does not exist', advice.images)
        return
    classes = len(dataset.CLASSES) if dataset.CLASSES else model_classes
    if dataset.ann_file:
        names = _listed(dataset, report, advice, classes)
    else:
        names = _in_folders(dataset, report, advice, classes)
    report.images = len(names)
    samples = draw_sample([Sample(osp.join(folder, name)) for name in names], files, seed)
    report.read = len(samples)
    faults = read_samples(samples, progress=progress).get(UNREADABLE_IMAGE)
    if faults:
        report.error(f'images that cannot be read: {len(faults):,} of {len(samples):,} opened ({examples(faults)})',
                     advice.damaged or advice.images)


def compare_class_folders(reports: Sequence[Report]) -> None:
    """Adds an error where two splits number other class folders: their labels do not mean the same.

    mmpretrain numbers the folders of each split by themselves.

    Args:
        reports: Of the splits of one config.
    """
    numbered = [report for report in reports if report.class_folders]
    for report in numbered[1:]:
        first, own = set(numbered[0].class_folders), set(report.class_folders)
        if first == own:
            continue
        sides = ((numbered[0], first - own), (report, own - first))
        parts = [f'only in {side.title}: {examples(sorted(names))}' for side, names in sides if names]
        report.error(f'class folders differ from those of {numbered[0].title} ({"; ".join(parts)}), so the same label '
                     'means another class', 'give all splits the same class folders')


def _all_files(folder: str) -> List[str]:
    return sorted(fileio.list_dir_or_file(folder, list_dir=False, recursive=True))


def _listed(dataset: CustomDataset, report: Report, advice: Advice, classes: Optional[int]) -> List[str]:
    """Returns the images that the list names and that exist."""
    folder, path = dataset.img_prefix, dataset.ann_file
    if not fileio.isfile(path):
        report.error(f'list of images {path} does not exist', advice.labels)
        return []
    lines = list_from_file(path)
    names, malformed, outside = [], [], []
    for number, line in enumerate(lines, 1):
        name, _, label = line.strip().rpartition(' ') if dataset.with_label else (line, '', '0')
        if not name or not label.lstrip('-').isdigit():
            malformed.append(f'line {number}: {line!r}')
            continue
        if classes is not None and not 0 <= int(label) < classes:
            outside.append(f'{name}: {label}')
        names.append(osp.normpath(name))
    if not lines:
        report.error(f'list of images {path} is empty', advice.labels)
    if malformed:
        report.error(f'lines of {path} that are not NAME LABEL: {len(malformed):,} of {len(lines):,} '
                     f'({examples(malformed)})', advice.labels)
    if outside:
        report.error(f'labels in {path} outside 0 to {classes - 1}: {len(outside):,} of {len(lines):,} '
                     f'({examples(outside)})', advice.values or advice.labels)
    # Lists may hold whole paths and no folder; then each is asked for by itself.
    present = set(_all_files(folder)) if folder else {name for name in names if fileio.isfile(name)}
    absent = [name for name in names if name not in present]
    if absent:
        report.error(f'images named in {path} that do not exist: {len(absent):,} of {len(lines):,} '
                     f'({examples(absent)})', advice.images)
    # Folders that the list does not enter may be other splits'.
    folders = {osp.dirname(name) for name in names}
    beside = [name for name in present if osp.dirname(name) in folders and dataset.is_valid_file(name)]
    unnamed = sorted(set(beside).difference(names))
    if unnamed:
        report.remark(f'images in {folder} that {path} does not name: {len(unnamed):,} of {len(beside):,} '
                      f'({examples(unnamed)})', advice.labels)
    return [name for name in names if name in present]


def _in_folders(dataset: CustomDataset, report: Report, advice: Advice, classes: Optional[int]) -> List[str]:
    """Returns the images in the class folders."""
    folder = dataset.img_prefix
    files = _all_files(folder)
    images = [name for name in files if dataset.is_valid_file(name)]
    others = [name for name in files if name.lower().endswith(IMAGE_SUFFIXES) and not dataset.is_valid_file(name)]
    if others:
        report.error(f'images that do not end in {", ".join(sorted(dataset.extensions))} and are left out: '
                     f'{len(others):,} in {folder} ({examples(others)})', advice.image_suffix)
    if not dataset.with_label:
        return images
    folders = report.class_folders = sorted(fileio.list_dir_or_file(folder, list_file=False))
    if classes is not None and len(folders) != classes:
        whose = 'data set has' if dataset.CLASSES else 'model predicts'
        # Without class folders at all, the images of a validation set lack their list.
        report.error(f'class folders in {folder}: {len(folders):,}; the {whose} {classes:,} classes',
                     advice.images if folders else advice.labels)
    filled = {name.replace('\\', '/').split('/')[0] for name in images if osp.dirname(name)}
    empty = [name for name in folders if name not in filled]
    if empty:
        report.error(f'class folders without an image: {len(empty):,} of {len(folders):,} in {folder} '
                     f'({examples(empty)})', advice.images)
    return [name for name in images if osp.dirname(name)]
