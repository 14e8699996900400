"""Checks a data set of mmseg: folders, pairs, suffixes, label values."""

from __future__ import annotations

import os.path as osp
from typing import Dict, List, Optional, Set

import mmengine.fileio as fileio
import numpy as np
from mmengine.fileio import list_from_file
from mmseg.datasets import BaseSegDataset

from . import reading
from .reading import Sample, draw_sample, read_samples
from .report import Report, examples
from .sources import Advice

# Other files beside images (lists, notes) are nobody's fault.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.gif', '.tif', '.tiff', '.webp', '.ppm', '.pgm')


def check_segmentation(dataset: BaseSegDataset, report: Report, advice: Advice, files: Optional[int], seed: int,
                       progress: str, as_stored: bool = False) -> None:
    """Fills in the report of one data set.

    Args:
        dataset: Built with ``lazy_init=True``.
        report: To fill in.
        advice: The commands that mend it.
        files: How many samples to open; None opens all.
        seed: Of the choice.
        progress: Title of a progress bar; none without.
        as_stored: Whether images are read without being turned as their EXIF orientation says.
    """
    image_dir, label_dir = dataset.data_prefix['img_path'], dataset.data_prefix.get('seg_map_path')
    backend = dataset.backend_args
    missing = False
    for kind, folder, fix in (('images', image_dir, advice.images), ('labels', label_dir, advice.labels)):
        if folder is not None and not fileio.isdir(folder, backend):
            report.error(f'folder of {kind} {folder} does not exist', fix)
            missing = True
    if dataset.ann_file and not fileio.exists(dataset.ann_file, backend):
        report.error(f'split file {dataset.ann_file} does not exist', advice.labels)
        missing = True
    if missing:
        return
    names = _image_names(dataset, report, advice)
    report.images = len(names)
    if not names:
        return
    samples = [Sample(osp.join(image_dir, name + dataset.img_suffix)) for name in names]
    if label_dir is not None:
        labelled = _labelled(dataset, report, advice, names)
        report.labels = len(labelled)
        samples = [Sample(osp.join(image_dir, name + dataset.img_suffix),
                          osp.join(label_dir, name + dataset.seg_map_suffix)) for name in names if name in labelled]
    samples = draw_sample(samples, files, seed)
    report.read = len(samples)
    _read(dataset, report, advice, samples, progress, as_stored)


def _files(folder: str, backend: Optional[dict]) -> List[str]:
    """Lists a folder as mmseg does: recursively, without hidden files."""
    return sorted(fileio.list_dir_or_file(folder, list_dir=False, recursive=True, backend_args=backend))


def _stem(name: str, suffix: str) -> str:
    return name[:len(name) - len(suffix)]


def _by_stem(names: List[str]) -> Dict[str, str]:
    """Returns image files by their names without extension."""
    parts = ((osp.splitext(name), name) for name in names)
    return {stem: name for (stem, extension), name in parts if extension.lower() in IMAGE_SUFFIXES}


def _image_names(dataset: BaseSegDataset, report: Report, advice: Advice) -> List[str]:
    """Returns the names, without suffix, of the images that are used and exist."""
    folder, suffix = dataset.data_prefix['img_path'], dataset.img_suffix
    files = _files(folder, dataset.backend_args)
    present = {_stem(name, suffix) for name in files if name.endswith(suffix)}
    other = {stem: name for stem, name in _by_stem(files).items() if not name.endswith(suffix) and stem not in present}
    if dataset.data_prefix.get('seg_map_path') == folder:
        other = {stem: name for stem, name in other.items() if not name.endswith(dataset.seg_map_suffix)}
    if not dataset.ann_file or fileio.isdir(dataset.ann_file, dataset.backend_args):
        if other:
            report.error(f'images that do not end in {suffix} and are left out: {len(other):,} in {folder} '
                         f'({examples(sorted(other.values()))})', advice.image_suffix)
        elif not present:
            report.error(f'no file in {folder} ends in {suffix}', advice.images)
        return sorted(present)
    named = [line.strip() for line in list_from_file(dataset.ann_file, backend_args=dataset.backend_args)]
    if not named:
        report.error(f'split file {dataset.ann_file} names no image', advice.labels)
    normal = {name: osp.normpath(name) for name in named}
    renamed = [other[normal[name]] for name in named if normal[name] not in present and normal[name] in other]
    absent = [name + suffix for name in named if normal[name] not in present and normal[name] not in other]
    if renamed:
        report.error(f'images named in {dataset.ann_file} that do not end in {suffix}: {len(renamed):,} of '
                     f'{len(named):,} ({examples(renamed)})', advice.image_suffix)
    if absent:
        report.error(f'images named in {dataset.ann_file} that do not exist: {len(absent):,} of {len(named):,} '
                     f'({examples(absent)})', advice.images)
    return [normal[name] for name in named if normal[name] in present]


def _labelled(dataset: BaseSegDataset, report: Report, advice: Advice, names: List[str]) -> Set[str]:
    """Returns the names that have a label; reports the others, and labels without image."""
    image_dir, folder = dataset.data_prefix['img_path'], dataset.data_prefix['seg_map_path']
    suffix = dataset.seg_map_suffix
    files = _files(folder, dataset.backend_args)
    present = {_stem(name, suffix) for name in files if name.endswith(suffix)}
    # A label of another suffix counts where the right one is missing: COCO-Stuff keeps its unconverted ones beside.
    candidates = {} if folder == image_dir else _by_stem(files)
    without = [name for name in names if name not in present]
    renamed = [candidates[name] for name in without if name in candidates]
    absent = [name + suffix for name in without if name not in candidates]
    if renamed:
        report.error(f'labels that do not end in {suffix}: {len(renamed):,} of {len(names):,} in {folder} '
                     f'({examples(renamed)})', advice.label_suffix)
    if absent:
        report.error(f'images whose label is missing in {folder}: {len(absent):,} of {len(names):,} '
                     f'({examples(absent)})', advice.labels)
    # Of a split file's folder, the images that it does not name are there for other splits.
    images = set(names)
    if dataset.ann_file and present - images:
        images = {_stem(name, dataset.img_suffix) for name in _files(image_dir, dataset.backend_args)
                  if name.endswith(dataset.img_suffix)}
    surplus = sorted(name + suffix for name in present - images)
    if surplus:
        report.error(f'labels whose image is missing in {image_dir}: {len(surplus):,} of {len(present):,} '
                     f'({examples(surplus)})', advice.images)
    return present.intersection(names)


def allowed_values(dataset: BaseSegDataset) -> Optional[np.ndarray]:
    """Tells which values a label file may hold, before ``reduce_zero_label`` and ``label_map`` are applied.

    Args:
        dataset: A data set of mmseg.

    Returns:
        Of shape (256,); None where the data set names no classes.
    """
    classes = dataset.METAINFO.get('classes') if dataset.label_map else dataset.metainfo.get('classes')
    if not classes:
        return None
    allowed = np.zeros(256, bool)
    allowed[:len(classes) + bool(dataset.reduce_zero_label)] = True
    allowed[255] = True  # mmseg's own value for "ignored", in its transforms as well
    if 0 <= dataset.ignore_index < 256:
        allowed[dataset.ignore_index] = True
    return allowed


def _read(dataset: BaseSegDataset, report: Report, advice: Advice, samples: List[Sample], progress: str,
          as_stored: bool) -> None:
    allowed = allowed_values(dataset)
    if allowed is None:
        report.remark(f'{report.dataset} names no classes: label values are not judged')
        last = ''
    else:
        last = f'0 to {np.flatnonzero(~allowed)[0] - 1} and 255' if not allowed.all() else '0 to 255'
    faults = read_samples(samples, allowed, dataset.backend_args, progress, as_stored)
    for kind, text, fix in (
        (reading.UNREADABLE_IMAGE, 'images that cannot be read', advice.damaged or advice.images),
        (reading.UNREADABLE_LABEL, 'labels that cannot be read', advice.damaged or advice.labels),
        (reading.NO_LABEL_MAP, 'labels that are no maps of one whole number a pixel', advice.damaged or advice.labels),
        (reading.SIZE, 'labels of another size than their image', advice.damaged or advice.labels),
        (reading.TURNED, 'labels of images that their EXIF orientation turns when they are loaded, which no label is',
         "LoadImageFromFile(color_type='color_ignore_orientation') in every pipeline, to keep the stored pixels"),
        (reading.VALUES, f'labels with values outside {last}', advice.values or advice.labels),
    ):
        if kind in faults:
            report.error(f'{text}: {len(faults[kind]):,} of {len(samples):,} opened ({examples(faults[kind])})', fix)
