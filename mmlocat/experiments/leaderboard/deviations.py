"""Why a run is not its recipe: what it recorded, against the leaf that mmlocat ships."""

from __future__ import annotations

import fnmatch
from functools import lru_cache
from typing import Any, Dict, Iterator, List, Optional, Tuple

from mmlocat.config import load_config
from mmlocat.training.initial_weights import initial_checkpoint
from mmlocat.training.provenance import canonical_config
from mmlocat.utils import share_folder

from .names import parse

# What decides a result. The other keys are names that a config gives its parts, and settings of log and machine.
_TRAINING_KEYS = ('model', 'data_preprocessor', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler',
                  'custom_hooks', 'default_hooks', 'runner_type', 'randomness')
_TEST_KEYS = ('model', 'data_preprocessor', 'test_dataloader', 'test_cfg', 'test_evaluator')
# Paths, logs, speed, and what has a rule of its own below: initial weights, total batch.
_IGNORED = ('*data_root', '*data_prefix*', '*ann_file', '*.num_workers', '*.persistent_workers', '*.pin_memory',
            '*.prefetch_factor', '*_dataloader.batch_size', 'test_evaluator*.output_dir', 'train_cfg.val_interval',
            'train_cfg.val_begin', 'train_cfg.dynamic_intervals*', 'optim_wrapper.accumulative_counts',
            'default_hooks.logger*', 'default_hooks.timer*', 'default_hooks.checkpoint*',
            'default_hooks.visualization*', 'randomness.deterministic', 'model.backbone.init_cfg*', 'model.pretrained',
            'model.backbone.attention_backend', 'model.backbone.with_cp')
_LENGTHS = {'train_cfg.max_iters': 'iterations', 'train_cfg.max_epochs': 'epochs'}
_SYNC_BN, _BN = ('SyncBN', 'MMSyncBN', 'mmcv.SyncBN'), 'BN'
_MISSING = '(none)'


@lru_cache(maxsize=None)
def _recipe(name: str) -> Optional[Tuple[Dict[str, Any], Optional[str]]]:
    path = share_folder() / 'configs' / f'{name}.py'
    if not path.is_file():
        return None
    config = load_config(str(path))
    return canonical_config(config), initial_checkpoint(config)


def recipe(name: str) -> Optional[Dict[str, Any]]:
    """Returns the canonical config of a shipped leaf; None if mmlocat ships none of that name."""
    found = _recipe(name)
    return found[0] if found else None


def recipe_checkpoint(name: str) -> Optional[str]:
    """Returns the initial weights that a shipped leaf names, or None."""
    found = _recipe(name)
    return found[1] if found else None


def flatten(node: Any, prefix: str = '') -> Iterator[Tuple[str, Any]]:
    """Yields dotted keys and plain values of nested dicts and lists; empty ones are values."""
    entries = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ())
    if not entries:
        yield prefix, node
    for key, value in entries:
        yield from flatten(value, f'{prefix}.{key}' if prefix else str(key))


def changes(used: Dict[str, Any], shipped: Dict[str, Any], keys: Tuple[str, ...], processes: int) -> List[str]:
    """Lists what differs between two canonical configs.

    Args:
        used: Of a run.
        shipped: Of the recipe.
        keys: The top-level keys that count.
        processes: Of the run; in one process SyncBN is BN.

    Returns:
        One text a difference, such as 'optim_wrapper.optimizer.lr = 0.01 (recipe: 0.001)'.
    """
    sides = []
    for settings in (used, shipped):
        flat = dict(flatten({key: settings[key] for key in keys if settings.get(key) not in (None, {}, [])}))
        sides.append({
            key: _BN if processes == 1 and value in _SYNC_BN else value
            for key, value in flat.items() if not any(fnmatch.fnmatch(key, pattern) for pattern in _IGNORED)
        })
    found = []
    for key in sorted({*sides[0], *sides[1]}):
        own, expected = (side.get(key, _MISSING) for side in sides)
        if own != expected:
            if key in _LENGTHS:
                found.append(f'{own} {_LENGTHS[key]} instead of {expected}')
            else:
                found.append(f'{key} = {own} (recipe: {expected})')
    return found


def training_deviations(name: str, launches: List[dict], configs: Dict[str, dict]) -> List[str]:
    """Lists why a training is not the recipe of its leaf.

    Args:
        name: The leaf.
        launches: Of the training's record.
        configs: Of the same record, by hash.

    Returns:
        Texts, none for a faithful training. Where the initial weights come from is judged elsewhere, except that a
        frozen backbone must have some, and that a leaf that names some starts from those.
    """
    shipped = recipe(name)
    if shipped is None:
        return [f'mmlocat ships no config {name}.py']
    found: List[str] = []
    for launch in launches:
        found += changes(configs[launch['config']], shipped, _TRAINING_KEYS, launch['processes'])
        expected = (shipped.get('auto_scale_lr') or {}).get('base_batch_size')
        if expected is not None and launch['total_batch'] != expected:
            found.append(f'total batch {launch["total_batch"]} instead of {expected}')
    if len({launch['seed'] for launch in launches}) > 1:
        found.append('resumed with another seed')
    first = launches[0]
    if first['resumed_from']:
        found.append(f'what came before {first["resumed_from"]["source"]} is not recorded')
    else:
        found += _initial_weights(name, first, configs[first['config']])
    return list(dict.fromkeys(found))


def _initial_weights(name: str, launch: dict, settings: Dict[str, Any]) -> List[str]:
    initial = launch['initial_checkpoint']
    backbone = (settings.get('model') or {}).get('backbone') or {}
    expected = recipe_checkpoint(name)
    if initial is None and (backbone.get('frozen_stages') or -1) > 0:
        return ['the frozen backbone is random']
    if initial is None and (expected is not None or parse(name).head):
        return [f'starts from random weights instead of {expected or "pretrained ones"}']
    if expected is not None and initial['source'] != expected:
        return [f'starts from {initial["source"]} instead of {expected}']
    return []


def test_deviations(name: str, test: dict, configs: Dict[str, dict]) -> List[str]:
    """Lists why a test is not the one of its leaf.

    Args:
        name: The leaf.
        test: An entry of a record's tests.
        configs: Of the same record, by hash.
    """
    shipped = recipe(name)
    if shipped is None:
        return [f'mmlocat ships no config {name}.py']
    if test['tta']:
        return ['test-time augmentation']
    return changes(configs[test['config']], shipped, _TEST_KEYS, processes=1)
