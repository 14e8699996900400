"""Checks numbers and choices of a config that would fail late, or silently train something else."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Callable, Iterator, List, Tuple

from mmcv.image.io import imread_flags, supported_backends
from mmengine.config import Config
from mmengine.registry import MODELS, PARAM_SCHEDULERS, TRANSFORMS, Registry

from .context import Context
from .resolve import resolve_type


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: _number(value) and value >= least and float(value).is_integer()


def _within(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: _number(value) and low <= value <= high


def _sizes(value: Any) -> bool:
    pair = value if isinstance(value, (list, tuple)) else (value, )
    return len(pair) in (1, 2) and all(isinstance(side, int) and side > 0 for side in pair)


def _one_of(*names: str) -> Callable[[Any], bool]:
    return lambda value: value in names


def _all_of(*names: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(name in names for name in value)


_IOU_METRICS = ('mIoU', 'mDice', 'mFscore')
_SEGMENTORS = ('EncoderDecoder', 'CascadeEncoderDecoder')  # mmseg's depth estimator knows more modes
_STARTS = ('fork', 'spawn', 'forkserver')
_LEVELS = ('CRITICAL', 'ERROR', 'WARNING', 'INFO', 'DEBUG')
# Patterns of keys, the condition on their values, and its wording in the error. A value of None is not checked.
_RULES: List[Tuple[Tuple[str, ...], Callable[[Any], bool], str]] = [
    (('*_dataloader.batch_size', 'train_cfg.max_iters', 'train_cfg.max_epochs', 'train_cfg.val_interval',
      'optim_wrapper.accumulative_counts', 'auto_scale_lr.base_batch_size', 'param_scheduler*.total_steps',
      'model.*.num_classes', 'default_hooks.logger.interval'), _whole(1), 'a positive whole number'),
    (('*_dataloader.num_workers', ), _whole(0), 'a whole number, 0 or more'),
    (('default_hooks.checkpoint.interval', ), _whole(-1), 'a whole number, -1 for never'),
    (('optim_wrapper.optimizer.lr', 'optim_wrapper.optimizer.weight_decay', 'param_scheduler*.eta_max',
      'param_scheduler*.eta_min'), _within(0, 1e6), 'a number, 0 or more'),
    (('optim_wrapper.clip_grad.max_norm', ), lambda value: _number(value) and value > 0, 'a positive number'),
    (('model.*.drop_path_rate', 'model.*.drop_rate'), _within(0, 1), 'a number from 0 to 1'),
    (('optim_wrapper.optimizer.betas', ), lambda value: isinstance(value, (list, tuple)) and len(value) in (2, 3)
     and all(map(_within(0, 1), value)), 'a pair of numbers from 0 to 1'),
    (('model.backbone.img_size', 'model.backbone.patch_size', '*pipeline*.crop_size', 'model.test_cfg.crop_size',
      'model.test_cfg.stride', 'model.data_preprocessor.size'), _sizes, 'a positive whole number or a pair of them, '
     'in pixels'),
    (('log_level', ), _one_of(*_LEVELS), f'one of {", ".join(_LEVELS)}'),
    (('env_cfg.mp_cfg.mp_start_method', ), _one_of(*_STARTS), f'one of {", ".join(_STARTS)}'),
    (('*pipeline*.imdecode_backend', ), _one_of(*supported_backends), f'one of {", ".join(supported_backends)}'),
    (('*pipeline*.color_type', ), _one_of(*imread_flags), f'one of {", ".join(imread_flags)}'),
    (('*_evaluator*.iou_metrics', ), _all_of(*_IOU_METRICS), f'a list of {", ".join(_IOU_METRICS)}'),
    (('*data_preprocessor.std', ), lambda value: isinstance(value, (list, tuple)) and all(
        _number(entry) and entry > 0 for entry in value), 'a list of positive numbers, one a channel'),
]


def _leaves(node: Any, path: str = '') -> Iterator[Tuple[str, Any]]:
    """Yields all values of a config, dicts and lists included, with their dotted keys."""
    if path:
        yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in items:
        yield from _leaves(value, f'{path}.{key}' if path else str(key))


def _named(node: Any, name: str, registry: Registry, config: Config) -> bool:
    """Whether a part of a config asks for a class of this name; not every build of the library has the class."""
    return getattr(resolve_type(node, registry, config.get('default_scope')), '__name__', None) == name


def check_values(config: Config, context: Context) -> List[str]:
    """Checks numbers, names and settings that must fit together.

    Raises:
        ValueError: Training or testing cannot use a value; the message has its key, what was expected and the option
            that changes it.
    """
    for path, value in _leaves(config.to_dict()):
        for patterns, accepts, expected in _RULES:
            if value is not None and any(fnmatchcase(path, pattern) for pattern in patterns) and not accepts(value):
                raise ValueError(f'{path} must be {expected}, got {value!r}; change it with --cfg-options {path}=...')
    _check_loaders(config)
    _check_schedulers(config)
    _check_slide(config)
    _check_classes(config)
    _check_crop(config)
    return []


def _check_loaders(config: Config) -> None:
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config.get(name) or {}
        if loader.get('persistent_workers') and not loader.get('num_workers'):
            raise ValueError(f'{name}.persistent_workers=True needs {name}.num_workers of 1 or more; set it to False '
                             'to load in the process itself')


def _check_schedulers(config: Config) -> None:
    """Refuses a OneCycleLR whose rise or fall is one step long: MMEngine's divides by zero then."""
    schedulers = config.get('param_scheduler') or []
    for i, scheduler in enumerate([schedulers] if isinstance(schedulers, dict) else schedulers):
        if scheduler.get('total_steps') and not scheduler.get('three_phase') and _named(
                scheduler, 'OneCycleLR', PARAM_SCHEDULERS, config):
            total, part = scheduler['total_steps'], scheduler.get('pct_start', 0.3)
            if float(part * total) - 1 in (0., float(total - 1)):
                raise ValueError(f'param_scheduler.{i}.total_steps={total} leaves OneCycleLR no rise or no fall '
                                 f'(pct_start={part}); take another number of steps, or another pct_start')


def _check_slide(config: Config) -> None:
    test = (config.get('model') or {}).get('test_cfg') or {}
    mode = test.get('mode', 'whole')
    if mode not in ('whole', 'slide') and any(_named(config.model, name, MODELS, config) for name in _SEGMENTORS):
        raise ValueError(f'model.test_cfg.mode must be whole or slide, got {mode!r}')
    if mode != 'slide':
        return
    missing = [key for key in ('crop_size', 'stride') if not test.get(key)]
    if missing:
        raise ValueError(f"model.test_cfg.mode='slide' needs model.test_cfg.{missing[0]}, a pair of pixels such as "
                         '(512, 512) with a stride of (341, 341)')
    crop, stride = ((side, side) if isinstance(side, int) else tuple(side) for side in (test.crop_size, test.stride))
    for key, sides in (('crop_size', crop), ('stride', stride)):
        if len(sides) != 2 or isinstance(test[key], int):
            raise ValueError(f'model.test_cfg.{key} must be a pair (height, width) in pixels, got {test[key]!r}')
    if stride[0] > crop[0] or stride[1] > crop[1]:
        raise ValueError(f'model.test_cfg.stride={stride} leaves gaps between windows of crop_size={crop}; a stride is '
                         'at most the window')


def _check_classes(config: Config) -> None:
    model = config.get('model') or {}
    head = model.get('head') or {}
    classes = head.get('num_classes') if isinstance(head, dict) else None
    if not isinstance(classes, int):
        return
    for key, settings in (('data_preprocessor', config.get('data_preprocessor')),
                          ('model.data_preprocessor', model.get('data_preprocessor'))):
        other = (settings or {}).get('num_classes')
        if other is not None and other != classes:
            raise ValueError(f'{key}.num_classes={other}, but model.head.num_classes={classes}; both are those of the '
                             'data')
    for name in ('val_evaluator', 'test_evaluator'):
        evaluators = config.get(name) or []
        for metric in [evaluators] if isinstance(evaluators, dict) else evaluators:
            best = metric.get('topk')
            best = max(best) if isinstance(best, (list, tuple)) and best else best
            if isinstance(best, int) and best > classes:
                raise ValueError(f'{name}.topk asks for top-{best} accuracy of {classes} classes; name smaller numbers')


def _check_crop(config: Config) -> None:
    """Refuses crops larger than ``size``, to which a batch is padded: they keep their size and do not stack."""
    size = ((config.get('model') or {}).get('data_preprocessor') or {}).get('size')
    loader = config.get('train_dataloader') or {}
    if size is None or not isinstance(loader.get('dataset'), dict) or loader.get('batch_size', 1) == 1:
        return
    size = (size, size) if isinstance(size, int) else tuple(size)
    for i, step in enumerate(loader['dataset'].get('pipeline') or []):
        crop = step.get('crop_size') if isinstance(step, dict) else None
        crop = crop if _named(step, 'RandomCrop', TRANSFORMS, config) else None
        if crop is not None:
            crop = (crop, crop) if isinstance(crop, int) else tuple(crop)
            if crop[0] > size[0] or crop[1] > size[-1]:
                raise ValueError(f'train_dataloader.dataset.pipeline.{i}.crop_size={crop} is larger than '
                                 f'model.data_preprocessor.size={size}, to which a batch is padded; make them equal')
