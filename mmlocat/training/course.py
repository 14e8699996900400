"""Refuses to wait for what will never come.

That is the end of an endless epoch, a count of epochs where iterations are counted, and a score that no metric gives.
"""

from __future__ import annotations

from typing import Any, Iterator, List, Optional, Tuple

from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, LoggerHook
from mmengine.registry import DATA_SAMPLERS, HOOKS, LOOPS, MODELS, PARAM_SCHEDULERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, ValLoop

from mmlocat.config import is_kind, resolve_type
from mmlocat.utils import suggestion

from .context import TEST, Context
from .metric_names import metric_names

_Part = Tuple[str, dict]  # a dict of the config with a type, and its key


def check_course(config: Config, context: Context) -> List[str]:
    """Makes sure that what a job counts on will come.

    Returns:
        A remark on a log that may hold no loss.

    Raises:
        ValueError: It will not; the message has the key, the value and what to change.
    """
    if context.job == TEST:
        _refuse_endless(config, 'test_dataloader', 'the test')
        return []
    _refuse_endless(config, 'val_dataloader', 'validation')
    _check_scores(config)
    loop, scope = config.train_cfg, config.get('default_scope')
    kind = resolve_type(loop, LOOPS, scope) if 'type' in loop else (
        EpochBasedTrainLoop if loop.get('by_epoch') else IterBasedTrainLoop)
    if not isinstance(kind, type):
        return []
    if issubclass(kind, EpochBasedTrainLoop):
        _refuse_endless(config, 'train_dataloader', 'an epoch', ', or count iterations, by '
                        "train_cfg = dict(type='IterBasedTrainLoop', max_iters=...)")
    _check_checkpoints(config, issubclass(kind, IterBasedTrainLoop))
    if issubclass(kind, IterBasedTrainLoop):
        _check_schedules(config)
        return _look_at_log(config)
    return []


def _refuse_endless(config: Config, loader: str, what: str, other: str = '') -> None:
    sampler = (config.get(loader) or {}).get('sampler')
    if is_kind(sampler, InfiniteSampler, DATA_SAMPLERS, config.get('default_scope')):
        raise ValueError(f"{loader}.sampler.type=InfiniteSampler has no end, so that {what} would have none: set "
                         f"{loader}.sampler.type=DefaultSampler{other}")


def _check_schedules(config: Config) -> None:
    """Refuses a schedule by epochs where iterations are counted: it would never change anything."""
    for path, schedule in _schedules(config.get('param_scheduler'), 'param_scheduler'):
        kind = resolve_type(schedule, PARAM_SCHEDULERS, config.get('default_scope'))
        # One that waits for scores steps after each validation.
        if not schedule.get('by_epoch', True) or schedule.get('convert_to_iter_based') or getattr(
                kind, 'need_val_args', False):
            continue
        raise ValueError(f'{path}.by_epoch={schedule.get("by_epoch", "True by default")}: '
                         f'{getattr(kind, "__name__", kind)} counts epochs, but train_cfg counts iterations, so that '
                         f'it would never change anything; set {path}.by_epoch=False, its begin and end in iterations')


def _check_checkpoints(config: Config, by_iteration: bool) -> None:
    """Refuses intervals between checkpoints that would never pass."""
    length = config.train_cfg.get('max_iters' if by_iteration else 'max_epochs')
    for path, hook in _hooks(config, CheckpointHook):
        interval, by_epoch = hook.get('interval', -1), hook.get('by_epoch', True)
        if not isinstance(interval, int) or interval <= 0:
            continue
        if by_iteration and by_epoch:
            raise ValueError(f'{path}.interval={interval} counts epochs (by_epoch is True), but train_cfg counts '
                             f'iterations, so that nothing would be saved before the end; set {path}.by_epoch=False '
                             f'and {path}.interval in iterations')
        fits = by_iteration != bool(by_epoch) and isinstance(length, int)
        if fits and interval > length and not hook.get('save_last', True) and not hook.get('save_best'):
            raise ValueError(f'{path}.interval={interval} is beyond the end of the training, at {length}, and '
                             f'save_last is False, so that nothing would be saved; set {path}.interval={length} or '
                             'less')


def _look_at_log(config: Config) -> List[str]:
    """Returns a remark if a logger's first line would come after the end; short trials of a recipe do that."""
    length = config.train_cfg.get('max_iters')
    return [f'{path}.interval={interval} is beyond the end of the training, at iteration {length}: the log may hold '
            f'no loss; --cfg-options {path}.interval=1 logs each.'
            for path, hook in _hooks(config, LoggerHook) for interval in [hook.get('interval', 10)]
            if isinstance(length, int) and isinstance(interval, int) and interval > length]


def _check_scores(config: Config) -> None:
    """Refuses to wait for a score that no metric gives, where validation and metrics are those of the libraries."""
    scope = config.get('default_scope')
    if not config.get('val_evaluator') or resolve_type(
            (config.get('val_cfg') or {}).get('type', 'ValLoop'), LOOPS, scope) is not ValLoop:
        return
    waited = list(_waited_for(config))
    names = metric_names(config.val_evaluator, scope) if waited else None
    if names is None:
        return
    # Newer versions of mmengine average the losses that a model gives beside its predictions; those of mmseg and
    # mmpretrain give none.
    model = getattr(resolve_type(config.model, MODELS, scope), '__module__', '')
    own_losses = model.split('.')[0] not in ('mmpretrain', 'mmseg')
    for path, name in waited:
        if name not in names and not (own_losses and 'loss' in name):
            raise ValueError(f'{path}={name!r} is no score of val_evaluator'
                             + (suggestion(name, names) or f'; it gives {", ".join(sorted(names)) or "none"}'))


def _waited_for(config: Config) -> Iterator[Tuple[str, str]]:
    """Yields the scores that something waits for, with the keys that name them."""
    for path, hook in _hooks(config, CheckpointHook):
        best = hook.get('save_best') or []
        for name in [best] if isinstance(best, str) else best:
            if name != 'auto':
                yield f'{path}.save_best', name
    for path, hook in _hooks(config, EarlyStoppingHook):
        if 'monitor' in hook:
            yield f'{path}.monitor', hook['monitor']
    for path, schedule in _schedules(config.get('param_scheduler'), 'param_scheduler'):
        kind = resolve_type(schedule, PARAM_SCHEDULERS, config.get('default_scope'))
        if getattr(kind, 'need_val_args', False):
            yield f'{path}.monitor', schedule.get('monitor', 'loss')


def _hooks(config: Config, kind: type) -> Iterator[_Part]:
    """Yields the hooks of a kind."""
    listed = [(f'default_hooks.{name}', hook) for name, hook in (config.get('default_hooks') or {}).items()]
    listed += [(f'custom_hooks.{i}', hook) for i, hook in enumerate(config.get('custom_hooks') or ())]
    for path, hook in listed:
        if isinstance(hook, dict) and is_kind(hook, kind, HOOKS, config.get('default_scope')):
            yield path, hook


def _schedules(node: Optional[Any], path: str) -> Iterator[_Part]:
    """Yields the schedules of one optimizer or several."""
    if isinstance(node, dict) and 'type' in node:
        yield path, node
    elif isinstance(node, (dict, list, tuple)):
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _schedules(inner, f'{path}.{key}')
