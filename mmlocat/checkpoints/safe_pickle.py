"""Unpickles without running code: PyTorch's weights-only mode, plus the few plain types that checkpoints need."""

from __future__ import annotations

import argparse
import codecs
import io
import pickle
import re
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, Callable, Dict, Optional

import numpy as np
import torch

from mmlocat.utils import first_line

from .errors import CheckpointError

# PyTorch 2.5 introduced the context manager that extends its list of allowed types.
_EXTENDS_LIST = hasattr(torch.serialization, 'safe_globals')
# How the versions of PyTorch name what they refuse.
_NAMED = re.compile(r"(?:GLOBAL|function|but got|class|object of type) <?(?:class |function )?'?([\w.]+)")
# Stands for OneCycleParamScheduler, so that a pickle can name the class but not create an instance.
_ONE_CYCLE = object()
# Stands for MMEngine's HistoryBuffer in a process that has not imported MMEngine: reading weights does not need it.
_HISTORY = type('HistoryBuffer', (), {})


def load_pickle(path: Path, map_location: Any, trust_pickle: bool) -> Any:
    """Loads what ``torch.save`` wrote; any type, which can run code, only if the file is trusted.

    Raises:
        CheckpointError: The file holds a type that is not plain data, or cannot be unpickled.
    """
    try:
        with open(path, 'rb') as file:  # as a file object: PyTorch reads any name in '.safetensors' as that
            return _load(file, map_location, trust_pickle)
    except Exception as error:  # a damaged pickle may raise anything
        named = _NAMED.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if named is None:
            raise CheckpointError(f'{path} cannot be unpickled ({type(error).__name__}: {first_line(error)}); it is '
                                  'cut off, damaged or not a checkpoint, so fetch it again') from error
        raise CheckpointError(f'{path} holds {named[1]}, which is no plain data: loading it could run code (or the '
                              'file is damaged). If you trust its source, pass --trust-pickle (trust_pickle=True); '
                              'better, save its weights alone, as .safetensors') from error


def not_plain(content: Any) -> Optional[str]:
    """Returns what keeps some content from being saved and read again without trust; None if nothing does.

    It is the name of a type or, where the error tells none, the error.
    """
    file = io.BytesIO()
    try:
        torch.save(content, file)
        file.seek(0)
        _load(file, 'cpu', trust_pickle=False)
    except Exception as error:  # pickling may call anybody's code
        named = _NAMED.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
        return named[1] if named else f'{type(error).__name__}: {first_line(error)}'
    return None


def _load(file: BinaryIO, map_location: Any, trust_pickle: bool) -> Any:
    if trust_pickle:
        return torch.load(file, map_location=map_location, weights_only=False)
    if _EXTENDS_LIST:
        # Pairs, because NumPy 1 and 2 write different names for one function.
        pairs = [(value, name) for name, value in plain_types().items()]
        with torch.serialization.safe_globals(pairs):
            return torch.load(file, map_location=map_location, weights_only=True)
    return torch.load(file, map_location=map_location, pickle_module=_RESTRICTED, weights_only=False)


def plain_types() -> Dict[str, Any]:
    """Returns the types and functions allowed in addition to PyTorch's own list, by their names in pickles."""
    reconstruct, scalar = np.zeros(1).__reduce__()[0], np.float64(1).__reduce__()[0]
    types: Dict[str, Any] = {
        'argparse.Namespace': argparse.Namespace,
        'collections.OrderedDict': OrderedDict,
        'numpy.ndarray': np.ndarray,
        'numpy.dtype': np.dtype,
        '_codecs.encode': codecs.encode,  # in protocol 2, bytes are text together with the encoding to apply
        'builtins.getattr': _known_function,
        '__builtin__.getattr': _known_function,
        'mmengine.logging.history_buffer.HistoryBuffer': _history(),
        'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler': _ONE_CYCLE,
    }
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        types[f'{module}._reconstruct'] = reconstruct
        types[f'{module}.scalar'] = scalar
    # The class of a dtype object, which PyTorch looks up when it sets its state.
    for code in '?bhilqBHILQefdFDSU':
        kind = type(np.dtype(code))
        types[f'{kind.__module__}.{kind.__name__}'] = kind
    return types


def _history() -> Any:
    """Returns MMEngine's HistoryBuffer, or what stands for it in a process that has not imported MMEngine."""
    return getattr(sys.modules.get('mmengine.logging'), 'HistoryBuffer', _HISTORY)


def _known_function(owner: Any, name: str) -> Callable:
    """Replaces ``getattr``, by which a Runner's checkpoint refers to functions, and allows only known ones.

    They are the statistics of a HistoryBuffer ('min', 'max', ...) and the curves of a OneCycleLR ('_annealing_cos').
    The owner must be the class itself: a pickle may give any object its name.
    """
    if (owner is _HISTORY or owner is _history()) and not name.startswith('_'):
        return getattr(owner, name, _unknown)
    if owner is _ONE_CYCLE and name.startswith('_annealing_'):
        scheduler = getattr(sys.modules.get('mmengine.optim'), 'OneCycleParamScheduler', None)
        return getattr(scheduler, name, _unknown)
    raise pickle.UnpicklingError(f'Unsupported global: GLOBAL getattr.{name}')


def _unknown(*_: Any) -> None:
    """Stands for a known function of MMEngine in a process that has not imported MMEngine; it does nothing."""


class _RestrictedUnpickler(pickle.Unpickler):
    """Unpickles only allowed types; for PyTorch before 2.5, whose weights-only mode cannot be extended."""

    def find_class(self, module: str, name: str) -> Any:
        from torch._weights_only_unpickler import _get_allowed_globals
        allowed = {**_get_allowed_globals(), **plain_types()}
        if f'{module}.{name}' not in allowed:
            raise pickle.UnpicklingError(f'Unsupported global: GLOBAL {module}.{name}')
        return allowed[f'{module}.{name}']


_RESTRICTED = SimpleNamespace(
    __name__=__name__, Unpickler=_RestrictedUnpickler, UnpicklingError=pickle.UnpicklingError,
    load=lambda file, **kwargs: _RestrictedUnpickler(file, **kwargs).load())
