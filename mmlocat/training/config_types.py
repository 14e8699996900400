"""Checks types and names of arguments in a config before anything is built.

MMEngine notices a wrong name only when it builds the part, and some mistyped arguments never.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any, Iterable, List, Optional, Set, Tuple

import mmengine.registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmlocat.config import resolve_type
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
# Keys whose dicts are built from a registry. A ``type`` elsewhere may be anything, such as the one of ``clip_grad``.
_PARTS = ('backbone', 'neck', 'decode_head', 'auxiliary_head', 'head', 'loss', 'loss_decode', 'data_preprocessor',
          'module', 'norm_cfg', 'act_cfg', 'conv_cfg', 'dataset', 'datasets', 'pipeline', 'transforms', 'sampler',
          'batch_sampler', 'collate_fn', 'optimizer', 'vis_backends', 'metrics', 'memory_dataloader')
# Transforms whose ``transforms`` are of the registry too; those of Albumentations are not.
_WRAPPERS = ('RandomChoice', 'RandomApply', 'TestTimeAug', 'Compose', 'KeyMapper', 'TransformBroadcaster', 'MultiView')
# Keys that MMEngine removes before it builds a part.
_TAKEN_OUT = {'type', '_scope_', 'priority', 'convert_to_iter_based', 'by_epoch', 'constructor', 'paramwise_cfg'}
# Dicts without a type, and the keys that they may hold.
_LOADER = (*inspect.signature(DataLoader.__init__).parameters, 'num_batch_per_epoch', 'disable_subprocess_warning')
_PLAIN = {
    'checks': OPTIONS,
    'default_hooks': ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint',
                      'visualization'),
    'model.test_cfg': ('mode', 'crop_size', 'stride', 'threshold'),
    'auto_scale_lr': ('enable', 'base_batch_size'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'randomness': inspect.signature(Runner.set_randomness).parameters,
}


def check_types(config: Config, context: Context) -> List[str]:
    """Looks up every type in the parts of the job, or, while the job is not known, in those that every job builds.

    Raises:
        ValueError: A part is missing, a type is not registered, or does not take an argument; with near names.
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
            _check_names(node, path, key, known, closed=path == 'checks')
    for name, hook in (config.get('default_hooks') or {}).items():
        if isinstance(hook, dict) and 'type' not in hook:
            raise ValueError(f'default_hooks.{name} has no type; name a hook with default_hooks.{name}.type=...')
    return []


def _check(node: Any, path: str, scope: Optional[str]) -> None:
    """Checks a part and the parts inside."""
    if isinstance(node, (list, tuple)):
        for i, entry in enumerate(node):
            _check(entry, f'{path}.{i}', scope)
    if not isinstance(node, dict):
        return
    if path.endswith('_dataloader'):
        _check_names(node, path, path, _LOADER, closed=True)
    scope = node.get('_scope_', scope)
    _find(node.get('constructor'), f'{path}.constructor', scope)
    kind = _find(node.get('type') or _default_type(node, path), f'{path}.type', scope)
    title = getattr(kind, '__name__', str(kind))
    if callable(kind):
        names, closed = _arguments(kind)
        # Models add to the arguments of their parts, and take some out.
        _check_names(node, path, title, names, closed and not path.startswith('model.'))
    for key, value in node.items():
        if path == 'default_hooks' or key in _PARTS and (key != 'transforms' or title in _WRAPPERS):
            _check(value, f'{path}.{key}', scope)


def _default_type(node: dict, path: str) -> Optional[str]:
    """Returns the type that MMEngine builds if the config names none."""
    if path == 'train_cfg' and 'by_epoch' in node:
        return 'EpochBasedTrainLoop' if node['by_epoch'] else 'IterBasedTrainLoop'
    if path == 'optim_wrapper' and 'optimizer' in node:  # else it holds several wrappers
        return 'OptimWrapper'
    return {'val_cfg': 'ValLoop', 'test_cfg': 'TestLoop', 'log_processor': 'LogProcessor'}.get(path)


def _find(kind: Any, path: str, scope: Optional[str]) -> Any:
    """Returns the class that a name stands for in any registry; None for no name."""
    found = resolve_type(kind, mmengine.registry.MODELS, scope)  # which also imports the registries of the scope
    if found is not None or not isinstance(kind, str):
        return found
    roots = [value for value in vars(mmengine.registry).values() if isinstance(value, Registry)]
    registries = [*(root.children[scope] for root in roots if scope in root.children), *roots]
    found = next((registry.get(kind) for registry in registries if registry.get(kind) is not None), None)
    if found is None and '.' not in kind:  # else it may be of a library that is not installed
        near = suggestion(kind, {name for registry in registries for name in registry.module_dict})
        raise ValueError(f'{path}: there is no {kind!r}{near or "; is its module in custom_imports?"}')
    return found


def _arguments(kind: Any) -> Tuple[Set[str], bool]:
    """Returns the arguments of a function, or of a class and its parents, and whether it takes no others.

    ``**kwargs`` usually go to a parent class; where they end up cannot be known. A decorator may accept old names.
    """
    functions = [kind]
    if inspect.isclass(kind):
        functions = [vars(base)['__init__'] for base in kind.__mro__ if '__init__' in vars(base)]
    parameters = [inspect.signature(function).parameters for function in functions]
    more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters[0].values())
    return {name for names in parameters for name in names}, not more and not hasattr(functions[0], '__wrapped__')


def _check_names(node: dict, path: str, title: str, known: Iterable[str], closed: bool) -> None:
    """Refuses a key that is not known; if ``closed`` is False, only one that looks like a mistyped one."""
    known = {*known} - {'self', 'args', 'kwargs'}
    for key in node:
        if key in known or key in _TAKEN_OUT or not isinstance(key, str):
            continue
        if closed or difflib.get_close_matches(key, known, n=1, cutoff=0.85) or (
                len(key) > 3 and any(name.startswith(f'{key}_') for name in known)):
            raise ValueError(f'{path}.{key}: {title} takes no {key!r}'
                             + (suggestion(key, known) or f'; it takes {", ".join(sorted(known))}'))
