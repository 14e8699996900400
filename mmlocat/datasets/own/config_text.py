"""Writes the config of a data set of one's own, on top of a shipped one."""

from __future__ import annotations

import copy
import math
import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from mmengine.config import Config

from mmlocat.config import load_config
from mmlocat.utils import atomic_write, share_folder

from .folders import Found
from .labels import Classes
from .splits import Split

_BATCH, _MOST_BATCH = 8, 64  # of one process; the larger one for classifiers with many images
_PASSES = 100  # over the training images, of a segmentor
_LEAST, _EPOCHS = 2000, 50  # iterations of a segmentor at least; epochs of a classifier
_STEP = 16  # crops are a multiple of it, the patch of most backbones
_PUBLISHED = {'locatvit-tiny': 'tiny', 'locatvit': 'base'}  # classifiers whose backbones' weights are published


def read_base(name: str, task: str) -> Config:
    """Reads a config to build on.

    Args:
        name: A shipped config's name, or a file.
        task: 'seg' or 'cls', which the config must be for.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: It is for the other task, or of a kind that cannot be built on.
    """
    config = load_config(name)
    head = config.model.get('decode_head' if task == 'seg' else 'head')
    if not isinstance(head, dict) or 'num_classes' not in head:
        example = 'locatvit_upernet_ade20k' if task == 'seg' else 'locatvit-tiny_imagenet'
        raise ValueError(f'--base {name} has no {"segmentor" if task == "seg" else "classifier"} with one head of '
                         f'num_classes, which --task {task} needs; {example} has')
    second = config.model.get('auxiliary_head')
    if isinstance(second, list) or (config.model.get('test_cfg') or {}).get('mode') == 'slide':
        raise ValueError(f'--base {name} has several auxiliary heads, or tests in windows, of sizes of its own; name a '
                         "config with one at most and model.test_cfg.mode='whole'")
    if not {'max_iters', 'max_epochs'} & {*(config.get('train_cfg') or {})}:
        raise ValueError(f'--base {name} trains nothing; name a config that trains')
    return config


def choose_crop(config: Config, task: str, short_side: int) -> int:
    """Returns the side of the training crop, in pixels.

    For segmentation it is the images' shorter side, at most 512 and a multiple of 16; a classifier keeps the size that
    its backbone is made for.
    """
    if task == 'seg':
        return max(2 * _STEP, min(512, short_side // _STEP * _STEP))
    size = config.model.backbone.get('img_size', 224)
    return size if isinstance(size, int) else size[0]


def write_config(path: Path, found: Found, classes: Classes, config: Config, *, crop: int, length: Optional[int] = None,
                 workers: int = 4) -> List[Path]:
    """Writes the config, and beside it the list files that its splits need.

    Args:
        path: The config file; replaced if it is there.
        found: The data.
        classes: Names and colours of the classes, and how 0 is read.
        config: The config to build on.
        crop: Side of the training crop, in pixels.
        length: Iterations of the training, or epochs where ``config`` counts them; by default a hundred passes and no
            less than 2,000 iterations, or 50 epochs, and never more than ``config`` has.
        workers: Processes that load images.

    Returns:
        The files written, the config first.
    """
    written = [path]
    for name, split in found.splits.items():
        if not split.complete:
            written.append(_list_path(path, name))
            numbers = [f' {number}' for number in split.numbers] or [''] * len(split.names)
            with atomic_write(written[-1]) as file:
                file.writelines(f'{sample}{number}\n' for sample, number in zip(split.names, numbers))
    lines = [f'# {found.root.name}: written by tools/data/new_config.py, to be changed at will.',
             f'_base_ = {relative_path(Path(config.filename), path.parent)!r}',
             f'data_root = {found.root.as_posix()!r}']
    lines += _text('classes', classes.names)
    if found.task == 'seg':
        lines += _text('palette', classes.palette)
    build = _segmentation if found.task == 'seg' else _classification
    lines += [*build(path, found, classes, config, crop, workers), *_schedule(found, config, length)]
    with atomic_write(path) as file:
        file.write('\n'.join(lines) + '\n')
    return written


def _list_path(path: Path, split: str) -> Path:
    return path.with_name(f'{path.stem}_{split}.txt')


def list_paths(path: Path, found: Found) -> List[Path]:
    """Returns the list files that ``write_config`` writes beside a config."""
    return [_list_path(path, name) for name, split in found.splits.items() if not split.complete]


def final_checkpoint(path: Path) -> str:
    """Returns the name of the last checkpoint of a config's training."""
    train = load_config(str(path)).train_cfg
    return f'epoch_{train.max_epochs}.pth' if 'max_epochs' in train else f'iter_{train.max_iters}.pth'


def relative_path(target: Path, folder: Path) -> str:
    """Returns a path as seen from a folder, after all links of both."""
    try:
        return Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return target.resolve().as_posix()


def _text(name: str, values: Sequence[Any]) -> List[str]:
    """Returns the lines that set a list, as many values a line as fit."""
    lines, line = [], '   '
    for value in map(repr, values):
        if len(line) + len(value) > 117:
            lines, line = [*lines, line], '   '
        line += f' {value},'
    return [f'{name} = [', *lines, line, ']']


def _dict(value: Any) -> str:
    """Returns a value as Python code, dicts as ``dict(...)``."""
    if isinstance(value, dict):
        if all(isinstance(key, str) and key.isidentifier() for key in value):
            return f'dict({", ".join(f"{key}={_dict(item)}" for key, item in value.items())})'
        return '{' + ', '.join(f'{key!r}: {_dict(item)}' for key, item in value.items()) + '}'
    if isinstance(value, (list, tuple)):
        text = ', '.join(map(_dict, value))
        return f'[{text}]' if isinstance(value, list) else f'({text}{"," if len(value) == 1 else ""})'
    return repr(value)


def _steps(name: str, steps: Sequence[dict]) -> List[str]:
    return [f'{name} = [', *(f'    {_dict(step)},' for step in steps), ']']


def _recipe(name: str) -> Config:
    """Reads a shipped part of configs, whose pipelines a new config takes with its own numbers."""
    return Config.fromfile(str(share_folder() / 'configs' / '_base_' / 'datasets' / f'{name}.py'))


def _listed(path: Path, name: str, split: Split) -> str:
    # mmengine puts the folder of the config in its place.
    return '' if split.complete else f",\n    ann_file='{{{{ fileDirname }}}}/{_list_path(path, name).name}'"


def _batch(found: Found) -> int:
    """Returns the batch of a process: few images have eight batches an epoch at least."""
    if found.task == 'seg':
        return _BATCH
    return min(_MOST_BATCH, max(_BATCH, len(found.splits['train'].names) // 8))


def _loaders(found: Found, datasets: Dict[str, str], workers: int) -> List[str]:
    loading = f'num_workers={workers}, persistent_workers={workers > 0}'
    return [f'train_dataloader = dict(batch_size={_batch(found)}, {loading}, dataset={datasets["train"]})',
            f'val_dataloader = dict({loading}, dataset={datasets["val"]})',
            # A copy: a merge takes `_delete_` out of its dict.
            "test_dataloader = dict(val_dataloader, dataset=dict(val_dataloader['dataset']))"]


def _segmentation(path: Path, found: Found, classes: Classes, config: Config, crop: int, workers: int) -> List[str]:
    """Returns the lines of a segmentor's data and model: the pipelines of ADE20K, with this crop and resizing."""
    recipe, scale = _recipe('ade20k'), (4 * crop, crop)
    changes = dict(Resize=dict(scale=scale), RandomResize=dict(scale=scale), RandomCrop=dict(crop_size=(crop, crop)))
    lines = [f'crop_size = {(crop, crop)}', f'scale = {scale}  # longest and shortest side, before augmentation']
    for name in ('train_pipeline', 'test_pipeline'):
        steps = '\n'.join(_steps(name, [{**step, **changes.get(step['type'], {})} for step in recipe[name]]))
        lines.append(steps.replace(f'scale={scale}', 'scale=scale').replace(f'=({crop}, {crop})', '=crop_size'))
    if 'tta_ratios' in config:
        lines += ['_resized = [',
                  "    dict(type='Resize', scale=tuple(int(side * ratio) for side in scale), keep_ratio=True)",
                  '    for ratio in _base_.tta_ratios',
                  ']',
                  'tta_pipeline = [',
                  "    dict(type='LoadImageFromFile'),",
                  "    dict(type='TestTimeAug', transforms=[_resized, *_base_.tta_after_resize]),",
                  ']']
    reduce = 'reduce_zero_label=True, ' if classes.reduce_zero_label else ''
    lines += [f"_data = dict(_delete_=True, type='BaseSegDataset', data_root=data_root, {reduce}"
              f'img_suffix={found.image_suffix!r},',
              f'             seg_map_suffix={found.label_suffix!r}, metainfo=dict(classes=classes, palette=palette))']
    datasets = {}
    for name, split in found.splits.items():
        pipeline = 'train_pipeline' if name == 'train' else 'test_pipeline'
        prefix = _dict(dict(img_path=split.images, seg_map_path=split.labels))
        datasets[name] = (f'dict(\n    **_data, pipeline={pipeline},\n    data_prefix={prefix}'
                          f'{_listed(path, name, split)})')
    lines += _loaders(found, datasets, workers)
    second = 'auxiliary_head=dict(num_classes=num_classes)' if config.model.get('auxiliary_head') else ''
    return [*lines, 'num_classes = len(classes)', 'model = dict(', '    data_preprocessor=dict(size=crop_size),',
            '    decode_head=dict(num_classes=num_classes),', *([f'    {second},'] if second else []), ')']


def _classification(path: Path, found: Found, classes: Classes, config: Config, crop: int, workers: int) -> List[str]:
    """Returns the lines of a classifier's data and model: the pipelines of ImageNet, anew for another crop."""
    lines, whose = [], '_base_.'
    if f"'crop_size': {crop}}}" not in str(config.get('test_pipeline')):
        whose, edge = '', round(crop * 248 / 224)
        for name in ('train_pipeline', 'test_pipeline'):
            text = '\n'.join(_steps(name, _recipe('imagenet')[name])).replace('scale=224', f'scale={crop}')
            lines.append(text.replace('scale=248', f'scale={edge}').replace('crop_size=224', f'crop_size={crop}'))
    lines.append("_data = dict(_delete_=True, type='CustomDataset', data_root=data_root, "
                 'metainfo=dict(classes=classes))')
    datasets = {}
    for name, split in found.splits.items():
        pipeline = f'{whose}train_pipeline' if name == 'train' else f'{whose}test_pipeline'
        datasets[name] = (f'dict(\n    **_data, pipeline={pipeline}, data_prefix={split.images!r}'
                          f'{_listed(path, name, split)})')
    lines.append('num_classes = len(classes)')
    count = len(classes.names)
    if 'data_preprocessor' in config:
        lines.append('data_preprocessor = dict(num_classes=num_classes)')
    lines += [*_loaders(found, datasets, workers), 'model = dict(head=dict(num_classes=num_classes))',
              f'val_evaluator = dict(topk={(1, 5) if count > 5 else (1, )})', 'test_evaluator = val_evaluator']
    size = _PUBLISHED.get(Path(config.filename).stem.split('_')[0])
    if size and 'sizes' in config and 'checkpoint' not in config:
        lines.append(f'checkpoint = _base_.sizes.{size}.published  # initial weights')
    return lines


def _schedule(found: Found, config: Config, length: Optional[int]) -> List[str]:
    """Returns the lines of the schedule: that of ``config``, shorter."""
    by_epoch, count, batch = 'max_epochs' in config.train_cfg, len(found.splits['train'].names), _batch(found)
    whole = config.train_cfg['max_epochs' if by_epoch else 'max_iters']
    if length is None:
        passes = _PASSES * count // batch
        length = min(whole, _EPOCHS if by_epoch else max(_LEAST, passes))
    # AdamW's rate goes with the square root of the batch.
    recipe = (config.get('auto_scale_lr') or {}).get('base_batch_size', batch)
    rate = (batch / recipe)**0.5
    schedulers = copy.deepcopy(config.get('param_scheduler') or [])
    schedulers = [schedulers] if isinstance(schedulers, dict) else schedulers
    for scheduler in schedulers:
        for key in {'begin', 'end', 'T_max', 'total_steps'} & set(scheduler):
            # A phase lasts an iteration at least; hundredths of an epoch are fine enough.
            epochs = scheduler.get('by_epoch', True)
            least, parts = (batch / count, 100) if epochs else (1, 1)
            if scheduler[key]:
                scheduler[key] = math.ceil(parts * max(least, round(scheduler[key] * length / whole, 2))) / parts
                scheduler[key] = int(scheduler[key]) if scheduler[key] == int(scheduler[key]) else scheduler[key]
        if 'eta_max' in scheduler:
            scheduler['eta_max'] = float(f'{scheduler["eta_max"] * rate:.2g}')
    every = 1 if by_epoch else max(1, length // 10)
    lines = [f'train_cfg = dict(max_{"epochs" if by_epoch else "iters"}={length}, val_interval={every})',
             *_steps('param_scheduler', [scheduler.to_dict() for scheduler in schedulers]),
             f'default_hooks = dict(checkpoint=dict(interval={every}))']
    if rate != 1:
        learning_rate = float(f'{config.optim_wrapper.optimizer.lr * rate:.2g}')
        lines += [f'optim_wrapper = dict(optimizer=dict(lr={learning_rate}))  # for this batch',
                  f'auto_scale_lr = dict(base_batch_size={batch})']
    return lines
