"""Looks up every ``type`` of a config, and the names of its arguments, before anything is built.

MMEngine notices a wrong name only when it builds the part: optimizers, schedulers and hooks' arguments when training
has begun, a metric's name after the first validation.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any, Dict, Iterable, List, Optional, Set, Tuple

import mmengine.registry as registries
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmlocat.utils import suggestion

from .context import Context
from .resolve import resolve_type

# Registries of the top-level parts of a config, by key.
_TOP: Dict[str, Registry] = {
    'model': registries.MODELS,
    'data_preprocessor': registries.MODELS,
    'optim_wrapper': registries.OPTIM_WRAPPERS,
    'param_scheduler': registries.PARAM_SCHEDULERS,
    'train_cfg': registries.LOOPS,
    'val_cfg': registries.LOOPS,
    'test_cfg': registries.LOOPS,
    'custom_hooks': registries.HOOKS,
    'val_evaluator': registries.METRICS,
    'test_evaluator': registries.METRICS,
    'visualizer': registries.VISUALIZERS,
    'log_processor': registries.LOG_PROCESSORS,
}
# Registries of nested parts, by the registry of the outer part and the key.
_INNER: Dict[Registry, Dict[str, Registry]] = {
    registries.MODELS:
    dict.fromkeys(('backbone', 'neck', 'decode_head', 'auxiliary_head', 'head', 'loss', 'loss_decode',
                   'data_preprocessor', 'module'), registries.MODELS),
    registries.DATASETS: {
        'dataset': registries.DATASETS,
        'datasets': registries.DATASETS,
        'pipeline': registries.TRANSFORMS
    },
    registries.TRANSFORMS: {'transforms': registries.TRANSFORMS},
    registries.OPTIM_WRAPPERS: {'optimizer': registries.OPTIMIZERS},
    registries.VISUALIZERS: {'vis_backends': registries.VISBACKENDS},
}
# Wrappers whose `transforms` come from the registry; those of Albumentations, for one, do not.
_WRAPPERS = ('RandomChoice', 'RandomApply', 'TestTimeAug', 'Compose', 'KeyMapper', 'TransformBroadcaster')
_LAYERS = ('norm_cfg', 'act_cfg', 'conv_cfg')  # the surrounding layer adds to their arguments
# Keys that MMEngine removes before it builds a part.
_TAKEN_OUT = {'type', '_scope_', 'priority', 'convert_to_iter_based', 'by_epoch', 'constructor', 'paramwise_cfg'}
_DEFAULT_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint', 'visualization')
# Dicts without a type, and the keys that they may hold.
_PLAIN = {
    'model.test_cfg': ('mode', 'crop_size', 'stride', 'threshold'),
    'auto_scale_lr': ('enable', 'base_batch_size'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'randomness': tuple(inspect.signature(Runner.set_randomness).parameters)[1:],
}
_LOADER = {*inspect.signature(DataLoader.__init__).parameters, 'num_batch_per_epoch', 'worker_init_fn'}


def check_common_types(config: Config, context: Context) -> List[str]:
    """Looks up the model and the other parts that every job builds.

    Raises:
        ValueError: A type is not registered, or does not take an argument; the message has the key and near names.
    """
    scope = config.get('default_scope')
    _check_complete(config, ('model', ))
    for key in ('model', 'data_preprocessor', 'custom_hooks', 'visualizer', 'log_processor'):
        _check(config.get(key), key, _TOP[key], scope)
    for name, hook in (config.get('default_hooks') or {}).items():
        if isinstance(hook, dict) and 'type' not in hook:
            raise ValueError(f'default_hooks.{name} has no type{suggestion(name, _DEFAULT_HOOKS)}')
        _check(hook, f'default_hooks.{name}', registries.HOOKS, scope)
    for path, known in _PLAIN.items():
        _check_names(_at(config, path), path, path.rsplit('.', 1)[-1], set(known), closed=False)
    return []


def check_training_types(config: Config, context: Context) -> List[str]:
    """Looks up the parts of a training, and of its validation if there is one; see ``check_common_types``."""
    _check_complete(config, ('train_dataloader', 'train_cfg', 'optim_wrapper'))
    return _check_parts(config, ('optim_wrapper', 'param_scheduler', 'train_cfg', 'val_cfg', 'val_evaluator'),
                        ('train_dataloader', 'val_dataloader'))


def check_test_types(config: Config, context: Context) -> List[str]:
    """Looks up the parts of a test; see ``check_common_types``."""
    _check_complete(config, ('test_dataloader', 'test_cfg', 'test_evaluator'))
    return _check_parts(config, ('test_cfg', 'test_evaluator'), ('test_dataloader', ))


def _check_parts(config: Config, keys: Iterable[str], loaders: Iterable[str]) -> List[str]:
    scope = config.get('default_scope')
    for key in keys:
        _check(config.get(key), key, _TOP[key], scope)
    for name in loaders:
        _check_loader(config.get(name), name, scope)
    return []


def _check_complete(config: Config, keys: Iterable[str]) -> None:
    for key in keys:
        value = config.get(key)
        if value is None:
            raise ValueError(f'the config has no {key}; take it from a config that has one, by _base_')
        if not isinstance(value, (dict, list)) or (key == 'model' and isinstance(value, list)):
            raise ValueError(f'{key} must be a dict, got {value!r}')


def _at(config: Config, path: str) -> Any:
    node: Any = config
    for key in path.split('.'):
        node = node.get(key) if isinstance(node, dict) or node is config else None
    return node


def _check_loader(loader: Optional[dict], path: str, scope: Optional[str]) -> None:
    if not isinstance(loader, dict):
        return
    _check_names(loader, path, 'a data loader', _LOADER, closed=True)
    _check(loader.get('dataset'), f'{path}.dataset', registries.DATASETS, scope)
    for key in ('sampler', 'batch_sampler'):
        _check(loader.get(key), f'{path}.{key}', registries.DATA_SAMPLERS, scope)


def _check(node: Any, path: str, registry: Registry, scope: Optional[str]) -> None:
    """Checks a part, or a list of parts, and the parts inside."""
    if isinstance(node, (list, tuple)):
        for i, entry in enumerate(node):
            _check(entry, f'{path}.{i}', registry, scope)
        return
    if not isinstance(node, dict):
        return
    scope = node.get('_scope_', scope)
    kind = _find(node.get('type') or _default_type(node, path), path, registry, scope)
    if kind is not None:
        names, closed = _accepted(kind)
        _check_names(node, path, getattr(kind, '__name__', str(kind)), names, closed)
    if registry is registries.OPTIM_WRAPPERS:
        _find(node.get('constructor'), path, registries.OPTIM_WRAPPER_CONSTRUCTORS, scope, 'constructor')
    for key, value in node.items():
        if registry is registries.MODELS and key in _LAYERS and isinstance(value, dict):
            _find(value.get('type'), f'{path}.{key}', registries.MODELS, scope)
        inner = _INNER.get(registry, {}).get(key)
        if inner is not None and (key != 'transforms' or getattr(kind, '__name__', '') in _WRAPPERS):
            _check(value, f'{path}.{key}', inner, scope)


def _default_type(node: dict, path: str) -> Optional[str]:
    """Returns the type that MMEngine builds if the config names none."""
    loops = {'train_cfg': 'EpochBasedTrainLoop' if node.get('by_epoch') else 'IterBasedTrainLoop',
             'val_cfg': 'ValLoop', 'test_cfg': 'TestLoop', 'optim_wrapper': 'OptimWrapper'}
    return loops.get(path)


def _find(kind: Any, path: str, registry: Registry, scope: Optional[str], key: str = 'type') -> Any:
    """Returns the class that a name stands for; None if no name is given."""
    found = resolve_type(kind, registry, scope)
    if found is not None or kind is None:
        return found
    with registry.switch_scope_and_registry(scope) as current:
        known: Set[str] = set()
        while current is not None:
            known.update(current.module_dict)
            current = current.parent
    raise ValueError(f'{path}.{key}: there is no {registry.name} {kind!r}'
                     + (suggestion(kind, known) or '; is the module that registers it in custom_imports?'))


def _accepted(kind: Any) -> Tuple[Set[str], bool]:
    """Returns the arguments of a class or function, and whether it takes no others.

    ``**kwargs`` usually go to a parent class; where they end up cannot be known, so unknown names may still be right.
    """
    functions = [base.__dict__['__init__'] for base in kind.__mro__[:-1] if '__init__' in base.__dict__] \
        if inspect.isclass(kind) else [kind]
    names: Set[str] = set()
    for i, function in enumerate(functions):
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            return names, False
        names.update(parameters)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            # A decorator may accept old names in place of new ones.
            return names, i == 0 and not hasattr(function, '__wrapped__')
    return names, False


def _check_names(node: Any, path: str, title: str, known: Set[str], closed: bool) -> None:
    """Refuses a key that is not known; if ``closed`` is False, only one that looks like a typing error."""
    if not isinstance(node, dict):
        return
    known = known - {'self', 'args', 'kwargs'}
    for key in node:
        if key in known or key in _TAKEN_OUT or not isinstance(key, str):
            continue
        if closed or difflib.get_close_matches(key, known, n=1, cutoff=0.85) or (
                len(key) > 3 and any(name.startswith(f'{key}_') for name in known)):
            raise ValueError(f'{path}.{key}: {title} takes no {key!r}'
                             + (suggestion(key, known) or f'; it takes {", ".join(sorted(known - _TAKEN_OUT))}'))
