"""Checks the files of a data set of mmpretrain: class folders or a list, labels, images."""

from __future__ import annotations

import os.path as osp
from typing import List, Optional, Sequence

import mmengine.fileio as fileio
from mmengine.fileio import list_from_file
from mmpretrain.datasets import CustomDataset

from .reading import IMAGE_SUFFIXES, Sample, list_files
from .report import Report, examples


def check_classification(dataset: CustomDataset, report: Report, model_classes: Optional[int]) -> List[Sample]:
    """Reports faults of a list of images or of class folders.

    Args:
        dataset: The data set, built with ``lazy_init=True``.
        report: The report to fill in.
        model_classes: Number of classes that the model predicts, for data sets that do not name theirs.

    Returns:
        The samples that exist.
    """
    folder = dataset.img_prefix
    if folder and not fileio.isdir(folder):
        report.error(f'folder of images {folder} does not exist', report.advice.images)
        return []
    classes = len(dataset.CLASSES) if dataset.CLASSES else model_classes
    names = (_listed if dataset.ann_file else _in_folders)(dataset, report, classes)
    report.images = len(names)
    return [Sample(osp.join(folder, name)) for name in names]


def compare_class_folders(reports: Sequence[Report]) -> None:
    """Adds an error if two splits have different class folders, so that the same label means different classes.

    mmpretrain numbers the folders of each split separately.

    Args:
        reports: The reports of one config's splits.
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


def _listed(dataset: CustomDataset, report: Report, classes: Optional[int]) -> List[str]:
    """Returns the images that the list names and that exist."""
    folder, path, advice = dataset.img_prefix, dataset.ann_file, report.advice
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
    # A list may hold full paths without a common folder; then each file is looked up separately.
    present = set(list_files(folder)) if folder else {name for name in names if fileio.isfile(name)}
    report.some(f'lines of {path} that are not NAME LABEL', malformed, len(lines), advice.labels)
    report.some(f'labels in {path} outside 0 to {(classes or 0) - 1}', outside, len(lines), advice.values)
    report.some(f'images named in {path} that do not exist', [name for name in names if name not in present],
                len(lines), advice.images)
    # Folders that the list does not mention may belong to other splits.
    folders = {osp.dirname(name) for name in names}
    beside = {name for name in present if osp.dirname(name) in folders and dataset.is_valid_file(name)}
    report.some(f'images in {folder} that {path} does not name', sorted(beside.difference(names)), len(beside),
                advice.labels, is_error=False)
    return [name for name in names if name in present]


def _in_folders(dataset: CustomDataset, report: Report, classes: Optional[int]) -> List[str]:
    """Returns the images in the class folders."""
    folder, advice = dataset.img_prefix, report.advice
    files = list_files(folder)
    images = [name for name in files if dataset.is_valid_file(name)]
    report.some(f'images that do not end in {", ".join(sorted(dataset.extensions))} and are left out',
                [name for name in files if name.lower().endswith(IMAGE_SUFFIXES) and not dataset.is_valid_file(name)],
                None, advice.image_suffix, f' in {folder}')
    if not dataset.with_label:
        return images
    folders = report.class_folders = sorted(fileio.list_dir_or_file(folder, list_file=False))
    if classes is not None and len(folders) != classes:
        whose = 'data set has' if dataset.CLASSES else 'model predicts'
        # A validation set without any class folders lacks its list of images.
        report.error(f'class folders in {folder}: {len(folders):,}; the {whose} {classes:,} classes',
                     advice.images if folders else advice.labels)
    filled = {name.replace('\\', '/').split('/')[0] for name in images if osp.dirname(name)}
    report.some('class folders without an image', [name for name in folders if name not in filled], len(folders),
                advice.images, f' in {folder}')
    return [name for name in images if osp.dirname(name)]
