"""Checks the data of a job before it begins: the files, the classes beside the model's, and then every sample."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from mmengine.config import Config
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmlocat.datasets.check import QUICK_FILES, check_data
from mmlocat.datasets.guard import base_datasets, guard_samples
from mmlocat.utils.terminal import is_main_process

from .context import TEST, TRAIN, Context
from .iou_metric import count_class_areas, keep_image_folders
from .screen import say

_SIZED = 8  # images whose sizes are compared before a test


def check_training_data(config: Config, context: Context) -> List[str]:
    """Makes sure that the data of a training are there: the quick form of ``tools/data/check.py``.

    Folders, lists, pairs and counts are checked for all files, and a few samples are opened. Data sets that verify
    their own files, as DigitScenes does, are skipped. With several processes only the first one checks.

    Raises:
        RuntimeError: Files are missing, unpaired or wrong; the message has the first fault and what mends it.
    """
    loaders = [name for name in ('train', 'val') if config.get(f'{name}_dataloader')]
    if not loaders or not context.options['data'] or not is_main_process():
        return []
    say(f'Looking at the data of {" and ".join(loaders)} ...')  # lists of millions of files take minutes
    reports = check_data(config, loaders, QUICK_FILES)
    errors = [(report.title, error) for report in reports for error in report.errors]
    if errors:
        title, first = errors[0]
        more = f'; {len(errors) - 1} more' if len(errors) > 1 else ''
        fix = f'; to mend it: {first.fix}' if first.fix else ''
        raise RuntimeError(f'{title} data: {first.message}{fix}{more} (python tools/data/check.py '
                           f'{config.filename or "CONFIG"} lists all; --no-data-check, or checks.data=False, trains '
                           'without this look)')
    return [f'{report.title} data: {remark.message}.' for report in reports for remark in report.remarks]


def build_data(config: Config, context: Context) -> List[str]:
    """Builds the loops of the job with their data, and checks their samples.

    Raises:
        ValueError: The data have more classes than the model predicts, or images of several sizes that a test would
            have to stack.
    """
    runner, name = context.runner, 'val' if context.job == TRAIN else 'test'
    if context.job == TRAIN:
        ranks_differ = bool((config.get('randomness') or {}).get('diff_rank_seed'))
        loader = runner.build_dataloader(runner._train_dataloader, seed=runner.seed, diff_rank_seed=ranks_differ)
        # Before the loop is built, because mmengine 0.10.7 starts the workers with it.
        _check_samples(context.model, loader.dataset, 'train')
        runner._train_dataloader = loader
        runner.train_loop  # noqa: B018 - builds it
    if getattr(runner, f'_{name}_loop') is not None:  # the public property would build it
        loop = getattr(runner, f'{name}_loop')
        _check_samples(context.model, loop.dataloader.dataset, name)
        _check_sizes(context.model, loop.dataloader, name)
        count_class_areas(getattr(loop, 'evaluator', None))
        if context.job == TEST:
            keep_image_folders(getattr(loop, 'evaluator', None), loop.dataloader.dataset)
    return []


def _check_samples(model: nn.Module, dataset: Any, name: str) -> None:
    """Refuses data with more classes than a head predicts, and makes the data set check each sample that it loads."""
    heads = _heads(model)
    for part in base_datasets(dataset):
        classes = len(part.metainfo.get('classes') or ())
        for key, (predicted, _) in heads.items():
            if classes > predicted:
                raise ValueError(f'{name} data: {type(part).__name__} has {classes} classes, the model predicts '
                                 f'{predicted}; set model.{key}.num_classes={classes}')
    guard_samples(dataset, *min(heads.values(), default=(None, 255)))


def _check_sizes(model: nn.Module, loader: DataLoader, name: str) -> None:
    """Refuses batches of images of several sizes, judged by a few of them, where they are stacked without padding.

    MMSegmentation (1.2 to 1.4) pads batches in training alone: a validation would end the training with an assertion.
    """
    from mmseg.models import SegDataPreProcessor  # here, since it imports all models of mmseg

    dataset, size = loader.dataset, loader.batch_size or 1
    preprocessor = getattr(getattr(model, 'module', model), 'data_preprocessor', None)
    if size == 1 or not isinstance(preprocessor, SegDataPreProcessor):
        return
    last, count = len(dataset) - 1, min(len(dataset), _SIZED)
    images = [dataset[last * i // max(count - 1, 1)].get('inputs') for i in range(count)]
    # Several views of an image, in test-time augmentation, are batches of their own.
    sizes = sorted({tuple(image.shape[1:]) for image in images if isinstance(image, Tensor)})
    if len(sizes) > 1:
        shown = ', '.join(f'{width} x {height}' for height, width in sizes[:3])
        raise ValueError(f'{name}_dataloader.batch_size={size}, but the images have several sizes ({shown}), and '
                         f'MMSegmentation stacks only equal ones in a test; set {name}_dataloader.batch_size=1, or '
                         "keep_ratio=False in the pipeline's Resize")


def _heads(model: nn.Module) -> Dict[str, Tuple[int, int]]:
    """Returns the number of label values and the ignored one of each head, by its key in a config."""
    from mmseg.models import DepthEstimator  # here, since it imports all models of mmseg

    model = getattr(model, 'module', model)  # inside a model of test-time augmentation
    if isinstance(model, DepthEstimator):  # labels are lengths; the classes of such data are scenes, for other models
        return {}
    heads: Dict[str, Any] = {key: getattr(model, key, None) for key in ('decode_head', 'auxiliary_head', 'head')}
    for key, head in list(heads.items()):
        if isinstance(head, nn.ModuleList):
            heads.update({f'{key}.{i}': part for i, part in enumerate(head)})
    # A single class has two label values: the class and the background.
    return {key: (max(head.num_classes, 2), getattr(head, 'ignore_index', 255)) for key, head in heads.items()
            if isinstance(getattr(head, 'num_classes', None), int)}
