"""Checks the data sets that the data loaders of a config read."""

from __future__ import annotations

import copy
import os.path as osp
from typing import List, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.registry import DATASETS
from mmpretrain.datasets import CustomDataset
from mmseg.datasets import BaseSegDataset

from mmlocat.config import inner_datasets, resolve_type
from mmlocat.utils import first_line

from .reading import open_samples
from .report import Report
from .samples import compare_class_folders, find_samples
from .sources import SOURCES

QUICK_FILES = 8  # files of each split that the quick check opens
SAMPLED_FILES = 500  # files of each split that the full check opens by default


def check_data(config: Config, loaders: Sequence[str] = ('train', 'val', 'test', 'memory'),
               files: Optional[int] = SAMPLED_FILES, progress: bool = False) -> List[Report]:
    """Checks the data that a config names.

    Folders, lists, pairs of images and labels, suffixes and counts are checked for all files; whether files can be
    read, and which values labels hold, for ``files`` samples of each split. A data set whose class says
    ``VOUCHES_FOR_FILES = True`` checks its own files and is left alone.

    Args:
        config: A config of MMPretrain or MMSegmentation; left as it is.
        loaders: Which of 'train', 'val', 'test' and 'memory' to check; the last is the training set of k-NN and dense
            retrieval, ``test_cfg.memory_dataloader``.
        files: How many samples to open of each split, always the same ones; None opens all.
        progress: Whether to draw progress bars.

    Returns:
        A report for each data set; one that several data loaders share has one report.

    Raises:
        ValueError: The config has no data set in any of ``loaders``.
    """
    found = _datasets(config, loaders)
    if not found:
        raise ValueError(f'the config names no data: it has no {", ".join(f"{name}_dataloader" for name in loaders)}')
    reports = []
    with DATASETS.switch_scope_and_registry(config.get('default_scope')):
        for names, settings in found:
            kind = resolve_type(settings, DATASETS, config.get('default_scope'))
            given = settings.pop('type', None)
            report = Report(names, getattr(kind, '__name__', str(given)), settings.get('data_root') or '')
            if given is None:
                report.error('the data set has no type', f'name its class by {names[0]}_dataloader.dataset.type')
            elif kind is None:
                report.error(f'there is no data set of type {report.dataset}', 'name the module that registers it in '
                             'custom_imports')
            elif not getattr(kind, 'VOUCHES_FOR_FILES', False):
                _check(kind, settings, report, _model_classes(config), files, progress)
            reports.append(report)
    compare_class_folders(reports)
    return reports


def _datasets(config: Config, loaders: Sequence[str]) -> List[Tuple[List[str], dict]]:
    """Returns the data sets of the loaders, each once, with the names of the loaders that read it."""
    found: List[Tuple[List[str], dict]] = []
    for name in loaders:
        place = (config.get('test_cfg') or {}) if name == 'memory' else config
        for settings in inner_datasets((place.get(f'{name}_dataloader') or {}).get('dataset')):
            settings = {key: copy.deepcopy(value) for key, value in settings.items() if key != '_scope_'}
            # Only this matters of a pipeline here.
            settings['pipeline'] = 'ignore_orientation' in str(settings.get('pipeline'))
            for names, other in found:
                if settings == other:
                    names.append(name)
                    break
            else:
                found.append(([name], settings))
    return found


def _model_classes(config: Config) -> Optional[int]:
    model = config.get('model') or {}
    head = model.get('decode_head') or model.get('head') or {}
    head = head[-1] if isinstance(head, (list, tuple)) else head
    return head.get('num_classes')


def _check(kind: type, settings: dict, report: Report, model_classes: Optional[int], files: Optional[int],
           progress: bool) -> None:
    as_stored = settings.pop('pipeline')
    backend = (settings.get('backend_args') or dict(backend='local')).get('backend')
    if backend != 'local' or not issubclass(kind, (BaseSegDataset, CustomDataset)):
        report.remark(f'{report.dataset} is not checked: it does not read local files as BaseSegDataset and '
                      'CustomDataset do')
        return
    # mmseg reads COCO-Stuff 10k, which has a zero label, by the class of 164k, which has none.
    if kind.__name__ != 'COCOStuffDataset' or not settings.get('reduce_zero_label'):
        report.source = SOURCES.get(kind.__name__)
        report.listed = osp.splitext(osp.basename(settings.get('ann_file') or ''))[0]
    if report.root and not osp.isdir(report.root):
        report.error(f'data root {report.root} does not exist', report.advice())
        return
    dataset = None
    try:
        dataset = kind(**{**settings, 'pipeline': [], 'lazy_init': True})
        report.root = dataset.data_root or ''
        named = dataset.metainfo.get('classes') or ()
        samples = find_samples(dataset, report, len(named) or model_classes)
    except Exception as error:  # data sets may raise anything, and some assert without a word that a folder exists
        places = settings if dataset is None else vars(dataset)
        named = ', '.join(f'{key}={places[key]!r}' for key in ('ann_file', 'data_prefix') if places.get(key))
        report.error(f'{report.dataset} cannot list its files ({named}): {type(error).__name__}: {first_line(error)}',
                     report.advice())
        return
    values = None
    if isinstance(dataset, BaseSegDataset):
        # As the files hold them, before ``reduce_zero_label`` and ``label_map`` are applied.
        in_files = dataset.METAINFO.get('classes') if dataset.label_map else named
        if in_files:
            values = range(len(in_files) + bool(dataset.reduce_zero_label))
        elif samples:
            report.remark(f'{report.dataset} names no classes: label values are not judged')
    # 255 is mmseg's value for "ignored", which its transforms use too.
    ignored = (255, getattr(dataset, 'ignore_index', 255))
    left_out = (0, ) if values and dataset.reduce_zero_label else ()
    open_samples(report, samples, files, progress, values, ignored, as_stored, left_out)
    classes = len(dataset.metainfo.get('classes') or ())
    if model_classes is not None and (classes > model_classes or report.class_folders and classes < model_classes):
        report.error(f'{report.dataset} has {classes:,} classes, the model predicts {model_classes:,}',
                     "give the model's heads num_classes of the data, or complete the class folders")
    if report.source and report.images not in (None, report.official):
        report.remark(f'{report.images:,} images, not the {report.official:,} of {report.source.name}; '
                      'well if a subset is meant', report.advice())
