"""Finds the class or function that the ``type`` of a config means, in every form that MMEngine accepts."""

from __future__ import annotations

from typing import Any, Optional

from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import Registry


def resolve_type(node: Any, registry: Registry, scope: Optional[str] = None) -> Any:
    """Returns the class or function that a part of a config asks for.

    MMEngine accepts a name ('CheckpointHook'), a name with a library before it ('mmpretrain.CheckpointHook'), the class
    itself, and the lazy objects of its new configs; all of them give the same result here.

    Args:
        node: The dict of the part, or its type.
        registry: The root registry of such parts, such as ``mmengine.registry.HOOKS``.
        scope: The library to search first: the config's ``default_scope``; that of the process by default.

    Returns:
        The class or function; None if there is no type, or it is not registered.
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
