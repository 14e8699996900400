"""Lists the samples of a data set as its library does, and reports files that are missing or left over."""

from __future__ import annotations

import os
import os.path as osp
import re
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from mmengine.dataset import BaseDataset
from mmengine.fileio import list_from_file

from .report import Report, examples

# Files with other suffixes (lists, notes) are ignored.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.gif', '.tif', '.tiff', '.webp', '.ppm', '.pgm')


class Sample(NamedTuple):
    """The paths of an image and of its label map, which may be None."""

    image: str
    label: Optional[str] = None


def find_samples(dataset: BaseDataset, report: Report, classes: Optional[int]) -> List[Sample]:
    """Reports files of a data set that are missing or left over, and labels of images beyond the classes.

    Returns:
        The samples whose files exist.

    Raises:
        ValueError: There is no image, or a line of the list is malformed; and what ``load_data_list`` raises.
    """
    try:
        entries = dataset.load_data_list()
    except ValueError:  # mmpretrain's does not say which line
        listed = getattr(dataset, 'with_label', False) and dataset.ann_file
        for number, line in enumerate(list_from_file(dataset.ann_file) if listed else (), 1):
            if not re.fullmatch(r'.* -?\d+', line.strip()):
                raise ValueError(f'line {number} is {line!r}, not a file, a space and a class number') from None
        raise
    if not entries:
        raise ValueError('no image is there')
    if 'img_path' not in entries[0]:
        report.remark(f'{report.dataset} is not checked: it lists no image files')
        return []
    report.images = len(entries)
    samples = []
    for entry in entries:
        label = entry.get('seg_map_path')
        samples.append(Sample(_tidy(entry['img_path']), label and _tidy(label)))
    images, maps = [sample.image for sample in samples], [sample.label for sample in samples if sample.label]
    folders = {osp.dirname(path) for path in (*images, *maps)}
    present = {osp.join(folder, name) for folder in folders if osp.isdir(folder or '.')
               for name in os.listdir(folder or '.')}
    for kind, paths in (('images', images), ('labels', maps)):
        report.some(f'{kind} that do not exist', [path for path in paths if path not in present], len(paths),
                    report.advice())
    if not dataset.ann_file:  # files that a list does not name belong to other splits
        image_folders, label_suffix = {osp.dirname(path) for path in images}, getattr(dataset, 'seg_map_suffix', None)
        unused = [path for path in sorted(present.difference(images, maps)) if path.lower().endswith(IMAGE_SUFFIXES)
                  and not osp.basename(path).startswith('.')  # the libraries skip hidden files too
                  and (osp.dirname(path) in image_folders or path.endswith(label_suffix))]
        fix = "the data set's img_suffix and seg_map_suffix name other suffixes; take away what belongs to no image"
        report.some('image files that are left out (of another suffix, or labels without an image)', unused,
                    len(present), report.advice(fix))
    labels = [entry.get('gt_label') for entry in entries]
    if classes is not None:
        report.some(f'images whose label is outside 0 to {classes - 1}',
                    [f'{image}: {label}' for image, label in zip(images, labels)
                     if isinstance(label, int) and not 0 <= label < classes], len(images),
                    report.advice("correct the list, or num_classes of the model's head"))
    report.class_folders = list(getattr(dataset, 'folder_to_idx', ()))
    if report.class_folders:
        filled = set(labels)
        empty = [name for number, name in enumerate(report.class_folders) if number not in filled]
        report.some('class folders without an image', empty, len(report.class_folders), report.advice())
    return [sample for sample in samples if sample.image in present and (not sample.label or sample.label in present)]


def _tidy(path: str) -> str:
    """Returns a path without detours, but for a .. that leads out of a symbolic link, where text does not."""
    tidy = osp.normpath(path)
    if '..' in path and osp.realpath(osp.dirname(path)) != osp.realpath(osp.dirname(tidy)):
        return str(Path(path))
    return tidy


def compare_class_folders(reports: Sequence[Report]) -> None:
    """Adds an error if splits have different class folders, since mmpretrain numbers those of each split separately."""
    numbered = [report for report in reports if report.class_folders]
    for report in numbered[1:]:
        different = set(numbered[0].class_folders).symmetric_difference(report.class_folders)
        if different:
            report.error(f'class folders differ from those of {numbered[0].title} (only in one of them: '
                         f'{examples(sorted(different))}), so the same label means another class',
                         'give all splits the same class folders')
