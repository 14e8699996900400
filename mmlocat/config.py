"""Reads configs, suggests names for one that does not exist, and finds its data sets and the classes of its types."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Iterable, Iterator, List, Mapping, Optional, Tuple

from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import Registry
from mmengine.runner import Runner

from mmlocat.utils import near_names, share_folder, suggestion
from mmlocat.zoo import find_installed_libraries

# Config keys that mmengine and our tools read in addition to the Runner's arguments.
_OTHER_KEYS = ('checkpoint', 'runner_type', 'sync_bn', 'find_unused_parameters', 'model_wrapper_cfg', 'compile',
               'tta_model', 'tta_pipeline', 'activation_checkpointing', 'efficient_conv_bn_eval', 'strategy', 'checks')
_MOST_KEYS = 6  # that an error message names


def near_matches(path: str) -> List[str]:
    """Returns paths of configs, beside ``path`` or shipped with mmlocat, whose names resemble it; best first."""
    wanted = Path(path)
    found = {}
    for folder in (wanted.parent, share_folder() / 'configs'):
        for file in sorted(folder.glob('*.py')):
            found.setdefault(file.stem, str(file))
    return [found[name] for name in near_names(wanted.stem, found, 5)]


def load_config(path: str, options: Optional[dict] = None) -> Config:
    """Reads a config and merges ``--cfg-options`` into it.

    Args:
        path: The config file, or a shipped config's name: 'locatvit_upernet_ade20k'.
        options: Values by dotted key.

    Returns:
        The merged config.

    Raises:
        FileNotFoundError: There is no such file; the message lists near matches.
        ValueError: The file is not a valid config, has no model, or an option does not fit it.
    """
    shipped = share_folder() / 'configs' / f'{path}.py'
    if not Path(path).is_file() and Path(path).name == path and shipped.is_file():
        path = str(shipped)
    if not Path(path).is_file():
        matches = near_matches(path)
        hint = f'did you mean {", ".join(matches)}?' if matches else f'configs lie in {share_folder() / "configs"}'
        raise FileNotFoundError(f'config {path} does not exist; {hint}')
    find_installed_libraries()
    try:
        config = Config.fromfile(path)
    except Exception as error:  # a config is Python code and may raise anything
        reason = (str(error).splitlines() or [''])[0]  # an import error would go on with all of sys.path
        raise ValueError(f'config {path} cannot be read: {type(error).__name__}: {reason}') from error
    if 'model' not in config:
        raise ValueError(f'config {path} has no model; is it a part for other configs?')
    read = {*inspect.signature(Runner.__init__).parameters, *_OTHER_KEYS} - {'self', 'cfg'}
    if isinstance(config.model, dict) and 'data_preprocessor' in config.model:
        read.remove('data_preprocessor')  # the Runner takes that of the model
    known = {*config, *read}
    for key, value in (options or {}).items():
        first = key.split('.')[0]
        if first == 'custom_imports':
            raise ValueError(f'--cfg-options {key}={value} comes too late: imports are done when a config is read; '
                             'write custom_imports into a config that has this one as _base_')
        if first not in known:
            raise ValueError(f'--cfg-options {key}={value}: {first} is no key of {path}{suggestion(first, known)}')
        if first not in read:
            raise ValueError(f'--cfg-options {key}={value} would change nothing: {first} is a variable, which {path} '
                             f'used when it was read; {_where_used(config, first, key[len(first):], read)}')
        try:
            config.merge_from_dict({key: value})
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ValueError(f'--cfg-options {key}={value} does not fit the config: {error}') from error
    return config


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


def inner_datasets(settings: Any) -> List[dict]:
    """Returns the settings of the data sets inside wrappers, such as ConcatDataset and RepeatDataset; [] without one.

    Args:
        settings: Those of a data set, or a list of such; they are not copied.
    """
    if isinstance(settings, (list, tuple)):
        return [inner for entry in settings for inner in inner_datasets(entry)]
    if not isinstance(settings, dict) or not settings:
        return []
    return inner_datasets(settings.get('datasets') or settings.get('dataset')) or [settings]


def tested_dataset(config: Mapping[str, Any]) -> dict:
    """Returns the settings of the data set that a config tests on, of the first inside wrappers; {} without one."""
    return next(iter(inner_datasets((config.get('test_dataloader') or {}).get('dataset'))), {})


def _where_used(config: Config, variable: str, below: str, read: Iterable[str]) -> str:
    """Returns advice on which keys hold what a variable of a config file held, for the end of an error message.

    Args:
        config: The config.
        variable: The variable's name.
        below: What follows it in the user's key, such as '.3.prob', or ''.
        read: The keys of a config that have an effect.
    """
    value = _comparable(config[variable])
    # Of a number that stands in many places only those of its own name are meant.
    telling = isinstance(value, (tuple, str)) and len(value) > 0
    found = [path + below for path, other in _nodes({key: config[key] for key in config if key in read})
             if other == value and (telling or path.split('.')[-1] == variable)]
    if not found:
        return f'write {variable} = ... into a copy of the config, or change the keys that it went into'
    more = f' ... ({len(found)} in all)' if len(found) > _MOST_KEYS else ''
    return f'change {", ".join(found[:_MOST_KEYS])}{more} instead'


def _comparable(node: Any) -> Any:
    """Returns settings with lists as tuples, and dicts as tuples of their entries, so that equal ones compare equal."""
    if isinstance(node, dict):
        return tuple(sorted((str(key), _comparable(value)) for key, value in node.items()))
    return tuple(map(_comparable, node)) if isinstance(node, (list, tuple)) else node


def _nodes(node: Any, path: str = '') -> Iterator[Tuple[str, Any]]:
    """Yields every part of nested settings in a comparable form, with its dotted key; a part before what it holds."""
    if path:
        yield path, _comparable(node)
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for name, child in items:
        yield from _nodes(child, f'{path}.{name}' if path else str(name))
