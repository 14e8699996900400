"""Finds what the types of a config mean, and checks types and names of arguments before anything is built.

MMEngine notices a wrong name only when it builds the part, and some mistyped arguments never. A name that resembles no
other is left to MMEngine: it may be of a library that this module does not know.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from typing import Any, Iterable, List, Optional, Set

import mmengine.registry
from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmlocat.utils import suggestion

from .context import OPTIONS, TEST, TRAIN, Context

# The parts of every job, and those that a training or a test adds.
_COMMON = ('model', 'data_preprocessor', 'default_hooks', 'custom_hooks', 'visualizer', 'log_processor')
_OF_JOB = {
    TRAIN: ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'val_dataloader', 'val_cfg',
            'val_evaluator'),
    TEST: ('test_dataloader', 'test_cfg', 'test_evaluator'),
}
_NEEDED = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper', *_OF_JOB[TEST])
# Keys that MMEngine removes before it builds a part.
_TAKEN_OUT = {'type', '_scope_', 'priority', 'convert_to_iter_based', 'by_epoch', 'constructor', 'paramwise_cfg'}
# Dicts without a type, and the keys that they may hold.
_LOADER = (*inspect.signature(DataLoader.__init__).parameters, 'num_batch_per_epoch')
_PLAIN = {
    'checks': OPTIONS,
    'default_hooks': ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint',
                      'visualization'),
    'model.test_cfg': ('mode', 'crop_size', 'stride', 'threshold'),
    'auto_scale_lr': ('enable', 'base_batch_size'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'randomness': inspect.signature(Runner.set_randomness).parameters,
    **dict.fromkeys(('train_dataloader', 'val_dataloader', 'test_dataloader'), _LOADER),
}


def resolve_type(node: Any, registry: Registry, scope: Optional[str] = None) -> Any:
    """Returns the class or function that a part of a config asks for; None if it has no type, or an unknown one.

    MMEngine accepts a name ('CheckpointHook'), a name with a library before it ('mmpretrain.CheckpointHook'), the class
    itself, and the lazy objects of its new configs; all of them give the same result here.

    Args:
        node: The dict of the part, or its type.
        registry: The root registry of such parts, such as ``mmengine.registry.HOOKS``.
        scope: The library to search first: the config's ``default_scope``; that of the process by default.
    """
    kind = node.get('type') if isinstance(node, dict) else node
    if isinstance(kind, (LazyObject, LazyAttr)):
        kind = kind.build()
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(scope) as current:
        return current.get(kind)


def is_kind(node: Any, kind: type, registry: Registry, scope: Optional[str] = None) -> bool:
    """Whether a part of a config asks for a class or one derived from it; see ``resolve_type``."""
    found = resolve_type(node, registry, scope)
    return isinstance(found, type) and issubclass(found, kind)


def check_types(config: Config, context: Context) -> List[str]:
    """Looks up every type in the parts of the job, or, while the job is not known, in those that every job builds.

    Raises:
        ValueError: A part is missing; or a type, or the name of an argument, is unknown and resembles a known one.
    """
    scope = config.get('default_scope')
    for key in (*_COMMON, *_OF_JOB.get(context.job, ())):
        part = config.get(key)
        if part is None and key in _NEEDED:
            raise ValueError(f'the config has no {key}; take it from a config that has one, by _base_')
        if key in _NEEDED and not isinstance(part, (dict, list)) or key == 'model' and isinstance(part, list):
            raise ValueError(f'{key} must be a dict, got {part!r}')
        _check(part, key, scope)
    for path, known in _PLAIN.items():
        node: Any = config
        for key in path.split('.'):
            node = node.get(key) or {}
        if isinstance(node, dict):
            _check_names(node, path, key, known)
    return []


def _check(node: Any, path: str, scope: Optional[str]) -> None:
    """Checks a part and the parts inside."""
    if isinstance(node, (list, tuple)):
        for i, entry in enumerate(node):
            _check(entry, f'{path}.{i}', scope)
    if not isinstance(node, dict):
        return
    scope = node.get('_scope_', scope)
    _find(node.get('constructor'), f'{path}.constructor', scope)
    kind = _find(node.get('type'), f'{path}.type', scope)
    title = getattr(kind, '__name__', str(kind))
    if callable(kind):
        _check_names(node, path, title, _arguments(kind))
    for key, value in node.items() if title != 'Albu' else ():  # Albumentations has types of its own
        _check(value, f'{path}.{key}', scope)


def _find(kind: Any, path: str, scope: Optional[str]) -> Any:
    """Returns the class that a name stands for; None for no name, and for an unknown one that resembles no other."""
    modules = (sys.modules.get(f'{scope}.registry'), mmengine.registry)
    registries = [value for module in modules if module for value in vars(module).values()
                  if isinstance(value, Registry)]
    for registry in registries if isinstance(kind, str) else ():
        if registry.get(kind) is not None:
            return registry.get(kind)
    if isinstance(kind, str) and '.' not in kind:  # else it may be of a library that is not installed
        near = suggestion(kind, {name for registry in registries for name in registry.module_dict})
        if near:
            raise ValueError(f'{path}: there is no {kind!r}{near}')
    return resolve_type(kind, mmengine.registry.MODELS)


def _arguments(kind: Any) -> Set[str]:
    """Returns the names of the arguments of a function, or of a class and its parents."""
    functions = [kind]
    if inspect.isclass(kind):
        functions = [vars(base)['__init__'] for base in kind.__mro__ if '__init__' in vars(base)]
    return {name for function in functions for name in inspect.signature(function).parameters}


def _check_names(node: dict, path: str, title: str, known: Iterable[str]) -> None:
    """Refuses a key that looks like a mistyped one; any other may be of a parent class, by ``**kwargs``."""
    known = {*known} - {'self', 'args', 'kwargs'}
    for key in node:
        if key not in known and key not in _TAKEN_OUT and isinstance(key, str) and (
                difflib.get_close_matches(key, known, n=1, cutoff=0.85) or path == 'checks'
                or len(key) > 3 and any(name.startswith(f'{key}_') for name in known)):
            raise ValueError(f'{path}.{key}: {title} takes no {key!r}{suggestion(key, known)}')
