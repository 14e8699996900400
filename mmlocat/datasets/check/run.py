"""Checks the data sets that the data loaders of a config read."""

from __future__ import annotations

import copy
import inspect
from typing import Any, List, Optional, Sequence, Tuple

import mmengine.fileio as fileio
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmpretrain.datasets import CustomDataset
from mmseg.datasets import BaseSegDataset

from .classification import check_classification, compare_class_folders
from .reading import Loading, open_samples
from .report import Report
from .segmentation import allowed_values, check_segmentation
from .sources import advise, find_source

LOADERS = ('train', 'val', 'test')
QUICK_FILES = 8  # files of each split that the quick check opens
SAMPLED_FILES = 500  # files of each split that the full check opens by default


def check_data(config: Config,
               loaders: Sequence[str] = LOADERS,
               files: Optional[int] = SAMPLED_FILES,
               seed: int = 0,
               progress: bool = False,
               trust: bool = False) -> List[Report]:
    """Checks the data that a config names.

    Folders, lists, pairs of images and labels, suffixes and counts are checked for all files; whether files can be
    read, and which values labels hold, for ``files`` samples of each split.

    Args:
        config: A config of MMPretrain or MMSegmentation; left as it is.
        loaders: Which of 'train', 'val' and 'test' to check.
        files: How many samples to open of each split; None opens all.
        seed: Seed of their choice.
        progress: Whether to draw progress bars.
        trust: Whether to skip data sets that verify their files themselves (``VOUCHES_FOR_FILES``).

    Returns:
        A report for each data set; one that several data loaders share has one report.

    Raises:
        ValueError: The config has no data set in any of ``loaders``.
    """
    reports = []
    found = _datasets(config, loaders)
    if not found:
        raise ValueError(f'the config names no data: it has no {", ".join(f"{name}_dataloader" for name in loaders)}')
    for names, settings in found:
        with DATASETS.switch_scope_and_registry(config.get('default_scope')) as registry:
            kind = settings.get('type')
            kind = kind if inspect.isclass(kind) else registry.get(str(kind))
            if kind is None:
                report = Report(names, str(settings.get('type')), '')
                report.error(f'there is no data set of type {settings.get("type")}; is the module that registers it '
                             'in custom_imports?')
                reports.append(report)
            elif not (trust and getattr(kind, 'VOUCHES_FOR_FILES', False)):
                reports.append(_check(kind, names, settings, _model_classes(config), files, seed, progress))
    compare_class_folders(reports)
    return reports


def _datasets(config: Config, loaders: Sequence[str]) -> List[Tuple[List[str], dict]]:
    """Returns the data sets of the loaders, each once, with the names of the loaders that read it."""
    found: List[Tuple[List[str], dict]] = []
    for name in loaders:
        for settings in _unwrap((config.get(f'{name}_dataloader') or {}).get('dataset')):
            settings = {key: copy.deepcopy(value) for key, value in settings.items()}
            # Only the image-loading step of a pipeline matters here.
            settings['pipeline'] = [step for step in settings.get('pipeline') or []
                                    if isinstance(step, dict) and _name(step.get('type')) == 'LoadImageFromFile']
            for names, other in found:
                if settings == other:
                    names.append(name)
                    break
            else:
                found.append(([name], settings))
    return found


def _name(kind: Any) -> str:
    """Returns the name of a type that a config gives as a class, a name, or a name with a scope before it."""
    return kind.__name__ if inspect.isclass(kind) else str(kind).rpartition('.')[2]


def _unwrap(settings: Any) -> List[dict]:
    """Returns the data sets inside wrappers such as ConcatDataset and RepeatDataset."""
    if isinstance(settings, (list, tuple)):
        return [inner for entry in settings for inner in _unwrap(entry)]
    if not isinstance(settings, dict):
        return []
    for key in ('datasets', 'dataset'):
        if key in settings:
            return _unwrap(settings[key])
    return [settings]


def _model_classes(config: Config) -> Optional[int]:
    model = config.get('model') or {}
    head = model.get('decode_head') or model.get('head') or {}
    head = head[-1] if isinstance(head, (list, tuple)) else head
    return head.get('num_classes')


def _check(kind: type, names: List[str], settings: dict, model_classes: Optional[int], files: Optional[int], seed: int,
           progress: bool) -> Report:
    root = settings.get('data_root') or ''
    report = Report(names, kind.__name__, root)
    if getattr(kind, 'load_data_list', None) not in (BaseSegDataset.load_data_list, CustomDataset.load_data_list):
        report.remark(f'{kind.__name__} is not checked: it finds its files as neither BaseSegDataset nor CustomDataset '
                      'does')
        return report
    source = find_source(kind, settings)
    split = 'train' if names[0] == 'train' else 'val'
    advice = report.advice = advise(source, split, names[0], root)
    makes_its_data = getattr(kind, 'VOUCHES_FOR_FILES', False)
    if root and not makes_its_data and not fileio.isdir(root, settings.get('backend_args')):
        report.error(f'data root {root} does not exist', advice.images)
        return report
    dataset = _build(kind, settings, report)
    if dataset is None:
        return report
    report.root = dataset.data_root or ''
    if isinstance(dataset, BaseSegDataset):
        classes = len(dataset.metainfo.get('classes') or ())
        samples = check_segmentation(dataset, report)
        as_stored = any('ignore_orientation' in str(step.get('color_type')) for step in settings['pipeline'])
        loading = Loading(dataset.backend_args, as_stored, allowed_values(dataset))
        if report.images and loading.allowed is None:
            report.remark(f'{report.dataset} names no classes: label values are not judged')
    else:
        classes = len(dataset.CLASSES or ())
        samples, loading = check_classification(dataset, report, model_classes), Loading()
    open_samples(report, samples, files, seed, loading, progress)
    if model_classes is not None and classes > model_classes:
        report.error(f'{report.dataset} has {classes:,} classes, the model predicts {model_classes:,}',
                     "give the model's heads num_classes of the data")
    if source and report.images is not None:
        report.official = source.counts[split]
        if report.images != report.official:
            report.remark(f'{report.images:,} images, not the {report.official:,} of {source.name}; '
                          'well if a subset is meant', advice.images)
    return report


def _build(kind: type, settings: dict, report: Report) -> Optional[Any]:
    """Builds the data set, to get its folders, suffixes and classes; loads no annotation."""
    arguments = {key: value for key, value in settings.items() if key not in ('type', '_scope_')}
    try:
        return kind(**{**arguments, 'pipeline': [], 'lazy_init': True})
    except Exception as error:  # third-party data sets may raise anything
        # Some assert that their folder exists, without a message.
        prefix = settings.get('data_prefix') or {}
        folder = prefix if isinstance(prefix, str) else prefix.get('img_path') or ''
        folder = fileio.join_path(report.root, folder) if report.root else folder
        if folder and not fileio.isdir(folder):
            report.error(f'folder of images {folder} does not exist', report.advice.images)
        else:
            report.error(f'{report.dataset} cannot be built: {type(error).__name__}: {error}')
        return None
