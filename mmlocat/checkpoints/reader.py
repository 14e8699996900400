"""Reads every checkpoint: finds it, recognises its format by content, reads it without running code, describes it."""

from __future__ import annotations

import json
from collections import OrderedDict
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

from torch import Tensor

from . import sniff
from .errors import CheckpointError
from .names import detect_format, unnest
from .safe_pickle import load_pickle
from .sources import locate, timm_weights

Grid = Tuple[int, int]

# Checkpoints read in a ``reading_once`` block, by source and trust; None outside of such a block.
_KEPT: Optional[Dict[Tuple[str, bool], Checkpoint]] = None


@dataclass
class Checkpoint:
    """Weights and what is known about them."""

    state_dict: Dict[str, Tensor]  # as saved; its _metadata holds the reference grid if that is known
    source: str
    path: Optional[Path]  # on this machine; None for weights from timm
    container: str  # 'safetensors', 'zip', 'pickle' or 'timm'
    nesting: str  # the key that the weights were under, '' for none
    format: str  # the library whose names they have, see ``detect_format``
    ref_grid: Optional[Grid]  # the pretraining grid that it records, or None
    meta: Dict[str, Any] = field(default_factory=dict)
    whole: Any = None  # the whole content of the file, optimizer included


@contextmanager
def reading_once() -> Iterator[None]:
    """Opens each checkpoint only once in a ``with`` block, however often it is read there.

    For a job that checks its weights before it loads them: ``read_checkpoint`` and, through it, MMEngine's loaders
    return the same tensors, on the CPU, each time in new dicts. Leave the block before training begins: an optimizer
    may update the tensors it was given in place. Blocks may be nested; leaving the outermost frees the checkpoints.
    """
    global _KEPT
    if _KEPT is not None:
        yield
        return
    _KEPT = {}
    try:
        yield
    finally:
        _KEPT = None


def read_checkpoint(source: Any, *, trust_pickle: bool = False, map_location: Any = 'cpu') -> Checkpoint:
    """Reads the weights of a checkpoint.

    Args:
        source: A file of any name (.pth, .pth.tar, .bin, .safetensors: the content tells), a folder with
            model.safetensors, ``hf://OWNER/REPO[@REVISION][/FILE]``, ``timm://NAME``, or a web address.
        trust_pickle: Whether a pickle may hold any type. It can then run any code that is in it.
        map_location: As in ``torch.load``; the CPU inside ``reading_once``.

    Returns:
        The weights under the names they were saved with, and what is known about them.

    Raises:
        FileNotFoundError: There is no such file or repository.
        CheckpointError: It is no checkpoint, is damaged or truncated, holds no weights, or a type that is not plain
            data.
        ValueError: The address is malformed.
    """
    source = str(source)
    if _KEPT is None:
        return _read(source, trust_pickle, map_location)
    if (source, trust_pickle) not in _KEPT:
        _KEPT[source, trust_pickle] = _read(source, trust_pickle, 'cpu')
    kept = _KEPT[source, trust_pickle]
    return replace(kept, state_dict=copy(kept.state_dict), meta=dict(kept.meta))  # copy() keeps _metadata


def _read(source: str, trust_pickle: bool, map_location: Any) -> Checkpoint:
    if source.startswith('timm://'):
        state = timm_weights(source)
        return Checkpoint(state, source, None, 'timm', '', detect_format(list(state)), None)
    path, config = locate(source)
    kind = sniff.container(path)
    whole, meta = _read_safetensors(path) if kind == 'safetensors' else (load_pickle(path, map_location, trust_pickle),
                                                                          {})
    if not isinstance(whole, Mapping):
        raise CheckpointError(f'{path} holds a {type(whole).__name__}, not weights by name; save a state_dict')
    inner, nesting = unnest(whole)
    state = OrderedDict((name, value) for name, value in inner.items() if isinstance(value, Tensor))
    if not state:
        keys = ', '.join(map(str, list(whole)[:5])) or 'nothing'
        raise CheckpointError(f'{path} holds no weights: neither tensors by name nor a state_dict of them, but {keys}')
    if not meta and isinstance(whole.get('meta'), Mapping):
        meta = dict(whole['meta'])
    state._metadata = getattr(inner, '_metadata', OrderedDict())
    ref_grid = _known_grid(state._metadata, meta, config, path)
    if ref_grid is not None:
        for prefix in ('', 'backbone'):
            state._metadata.setdefault(prefix, {}).setdefault('ref_grid', ref_grid)
    return Checkpoint(state, source, path, kind, nesting, detect_format(list(state)), ref_grid, meta, whole)


def _read_safetensors(path: Path) -> Tuple[Dict[str, Tensor], Dict[str, Any]]:
    from safetensors import SafetensorError, safe_open
    try:
        with safe_open(str(path), 'pt') as file:
            tensors = OrderedDict((name, file.get_tensor(name)) for name in file.keys())
            meta = dict(file.metadata() or {})
    except SafetensorError as error:
        raise CheckpointError(f'{path} cannot be read as safetensors ({error}); fetch it again') from error
    if 'mmlocat' in meta:
        try:
            meta['mmlocat'] = json.loads(meta['mmlocat'])
        except ValueError as error:
            raise CheckpointError(f'{path}: its mmlocat entry is no valid JSON ({error}); convert it again') from error
    return tensors, meta


def _known_grid(metadata: Mapping, meta: Mapping, config: Mapping, path: Path) -> Optional[Grid]:
    """Finds the pretraining grid in a LocAtViT's metadata, a converted file's meta, or a hub snapshot's config."""
    found = [entry['ref_grid'] for entry in metadata.values() if isinstance(entry, Mapping) and 'ref_grid' in entry]
    ours = meta.get('mmlocat')
    if not found and isinstance(ours, Mapping) and ours.get('ref_grid') is not None:
        found = [ours['ref_grid']]
    sizes = [config.get(key) for key in ('img_size', 'patch_size')]
    if not found and all(isinstance(size, (int, list)) for size in sizes):
        sides = [size if isinstance(size, list) else [size, size] for size in sizes]
        found = [[image // patch for image, patch in zip(*sides)]]
    if not found:
        return None
    grid = found[0]
    if not isinstance(grid, (tuple, list)) or len(grid) != 2 or not all(isinstance(n, int) and n > 0 for n in grid):
        raise CheckpointError(f'{path}: its ref_grid {grid!r} is no pair of positive whole numbers')
    return tuple(grid)
