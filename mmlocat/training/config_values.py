"""Checks numbers and choices of a config that would fail late, or silently train something else."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Callable, Dict, List, Optional, Tuple

from mmcv.image.io import imread_flags, supported_backends
from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor
from mmengine.optim import OneCycleParamScheduler
from mmengine.registry import MODELS, PARAM_SCHEDULERS

from mmlocat.config import is_kind

from .context import TEST, Context, flatten

_Condition = Tuple[Callable[[Any], bool], str]  # what a value must fulfil, and its wording in the error


def _number(low: float, high: float, text: str, whole: bool = False) -> _Condition:
    return lambda value: (isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
                          and (not whole or float(value).is_integer())), text


def _one_of(*names: str) -> _Condition:
    return names.__contains__, f'one of {", ".join(names)}'


_FLAG: _Condition = (lambda value: isinstance(value, bool), 'True or False')
_LIST: _Condition = (lambda value: isinstance(value, (list, tuple)), 'a list')
# Patterns of keys, an entry of a list having its own (``betas.0``). A value of None is not checked.
_RULES: List[Tuple[_Condition, Tuple[str, ...]]] = [
    (_number(1, 1e12, 'a positive whole number', whole=True),
     ('*_dataloader.batch_size', 'train_cfg.max_iters', 'train_cfg.max_epochs', 'train_cfg.val_interval',
      'optim_wrapper.accumulative_counts', 'auto_scale_lr.base_batch_size', 'param_scheduler*.total_steps',
      'model.*.num_classes', 'default_hooks.logger.interval')),
    ((lambda value: isinstance(value, int) and value > 0, 'a positive whole number of pixels'),
     ('model.backbone.img_size*', 'model.backbone.patch_size*', '*pipeline*.crop_size*', 'model.test_cfg.crop_size*',
      'model.test_cfg.stride*', 'model.data_preprocessor.size*')),
    (_number(0, 1e12, 'a whole number, 0 or more', whole=True), ('*_dataloader.num_workers', )),
    (_number(-1, 1e12, 'a whole number, -1 for never', whole=True), ('default_hooks.checkpoint.interval', )),
    (_number(0, 1e6, 'a number, 0 or more'), ('optim_wrapper.optimizer.lr', 'optim_wrapper.optimizer.weight_decay',
                                              'param_scheduler*.eta_max', 'param_scheduler*.eta_min')),
    (_number(1e-12, float('inf'), 'a positive number'),
     ('optim_wrapper.clip_grad.max_norm', '*data_preprocessor.std.*')),
    (_number(0, 1, 'a number from 0 to 1'), ('model.*.drop_path_rate', 'model.*.drop_rate',
                                             'optim_wrapper.optimizer.betas.*')),
    (_FLAG, ('checks.*', )),
    (_LIST, ('optim_wrapper.optimizer.betas', '*data_preprocessor.std', '*_evaluator*.iou_metrics')),
    (_one_of('mIoU', 'mDice', 'mFscore'), ('*_evaluator*.iou_metrics.*', )),
    (_one_of('whole', 'slide', 'slide_flip'), ('model.test_cfg.mode', )),  # the last is a depth estimator's
    (_one_of('CRITICAL', 'ERROR', 'WARNING', 'INFO', 'DEBUG'), ('log_level', )),
    (_one_of('fork', 'spawn', 'forkserver'), ('env_cfg.mp_cfg.mp_start_method', )),
    (_one_of(*supported_backends), ('*pipeline*.imdecode_backend', )),
    (_one_of(*imread_flags), ('*pipeline*.color_type', )),
]


def check_values(config: Config, context: Context) -> List[str]:
    """Checks numbers and names, and settings that must fit each other.

    Raises:
        ValueError: One is wrong; the message has the key, the value and what is expected.
    """
    values = flatten(config.to_dict())
    for path, value in values.items():
        for (accepts, expected), patterns in _RULES:
            if value is not None and any(fnmatchcase(path, pattern) for pattern in patterns) and not accepts(value):
                raise ValueError(f'{path} must be {expected}, got {value!r}; change it with --cfg-options {path}=...')
    _check_means(config)
    _check_workers(values)
    _check_together(values, config.get('default_scope'))
    if context.job != TEST:
        _check_best(values)
    _check_windows(config.model.get('test_cfg') or {})
    return []


def _check_means(config: Config) -> None:
    """Refuses means that MMEngine's data preprocessor (0.10) does not take, and names the step that does."""
    part = config.model.get('data_preprocessor') or {}
    means = part.get('mean') or ()
    kind = is_kind(part, ImgDataPreprocessor, MODELS, config.get('default_scope'))
    if kind and isinstance(means, (list, tuple)) and len(means) not in (0, 1, 3):
        raise ValueError(f'model.data_preprocessor.mean has {len(means)} values, but takes one for all channels or '
                         "three; set mean=None and std=None there, and put dict(type='Normalize', mean=[...], "
                         'std=[...], to_rgb=False) into the pipelines, before the step that packs')


def _check_workers(values: Dict[str, Any]) -> None:
    """Refuses options of loading workers where there are none; PyTorch's error does not say which loader it means."""
    for path, value in values.items():
        loader, _, option = path.rpartition('.')
        count = values.get(f'{loader}.num_workers') or 0
        if option in ('persistent_workers', 'prefetch_factor') and value and not count:
            off = f'{path}={False if option == "persistent_workers" else None}'
            raise ValueError(f'{path}={value} is about workers, but {loader}.num_workers={count}; '
                             f'set {off} too, or {loader}.num_workers=1 or more')


def _check_together(values: Dict[str, Any], scope: Optional[str]) -> None:
    """Refuses values that do not fit others."""
    classes, side = values.get('model.head.num_classes'), values.get('model.data_preprocessor.size')
    size = [values.get(f'model.data_preprocessor.size.{i}', side) for i in (0, 1)]
    padded = None not in size and (values.get('train_dataloader.batch_size') or 1) > 1
    for path, value in values.items():
        if not isinstance(value, int):
            continue
        if fnmatchcase(path, '*data_preprocessor.num_classes') and value != (classes or value):
            raise ValueError(f'{path}={value}, but model.head.num_classes={classes}; both are those of the data')
        if fnmatchcase(path, '*_evaluator*.topk*') and value > (classes or value):
            raise ValueError(f'{path} asks for top-{value} accuracy of {classes} classes; name smaller numbers')
        # Larger crops keep their size and do not stack.
        if padded and fnmatchcase(path, 'train_dataloader.dataset.pipeline.*.crop_size*'):
            if value > (size[int(path[-1])] if path[-1].isdigit() else min(size)):
                raise ValueError(f'{path}={value} is larger than model.data_preprocessor.size={tuple(size)}, to which '
                                 'a batch is padded; make them equal')
        if fnmatchcase(path, 'param_scheduler*.total_steps'):
            kind, phases, part = (values.get(path.replace('total_steps', key), default) for key, default in (
                ('type', None), ('three_phase', False), ('pct_start', 0.3)))
            # MMEngine's OneCycleLR (0.10.7 and OneDL's 0.10.12) divides by zero if its rise or fall is one step long.
            short = not phases and float(part * value) - 1 in (0., float(value - 1))
            if short and is_kind(kind, OneCycleParamScheduler, PARAM_SCHEDULERS, scope):
                raise ValueError(f'{path}={value} leaves OneCycleLR no rise or no fall; change pct_start={part}')


def _check_best(values: Dict[str, Any]) -> None:
    """Refuses to look for the best checkpoint where nothing is validated, as in DINO's pretraining."""
    asked = [value for path, value in values.items() if path.startswith('default_hooks.checkpoint.save_best') and value]
    if asked and not any(path.startswith('val_dataloader.') for path in values):
        raise ValueError(f'default_hooks.checkpoint.save_best={asked[0]!r}, but there is no val_dataloader, so that '
                         'nothing is measured; add one with val_cfg and val_evaluator, or set '
                         'default_hooks.checkpoint.save_best=None')


def _check_windows(test: dict) -> None:
    crop, stride = test.get('crop_size'), test.get('stride')
    pairs = all(isinstance(sides, (list, tuple)) and len(sides) == 2 for sides in (crop, stride))
    if test.get('mode') == 'slide' and (not pairs or stride[0] > crop[0] or stride[1] > crop[1]):
        raise ValueError("model.test_cfg.mode='slide' needs model.test_cfg.crop_size and model.test_cfg.stride, pairs "
                         '(height, width) in pixels such as (512, 512) and (341, 341); a stride beyond the crop leaves '
                         f'gaps between windows; got {crop} and {stride}')
