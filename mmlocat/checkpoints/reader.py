"""Reads every checkpoint: finds it, recognises its format by content, reads it without running code, describes it."""

from __future__ import annotations

import json
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple, Union

from torch import Tensor

from .errors import CheckpointError
from .names import detect_format, unnest
from .safe_pickle import load_pickle
from .sources import WEIGHT_FILES, locate

Grid = Tuple[int, int]

# Checkpoints read in a ``reading_once`` block, by source and trust; None outside of such a block.
_KEPT: Optional[Dict[Tuple[str, bool], Checkpoint]] = None

# How files begin that users take for checkpoints, and what to do with them.
_OTHERS = (
    (b'version https://git-lfs', 'is a Git LFS pointer, not the weights; run git lfs pull in its repository'),
    (b'\x1f\x8b', 'is a gzip archive; unpack it first'),
    (b'<', 'is an HTML or XML page saved under this name, not a checkpoint; the download went to a log-in or error '
           'page, so fetch the file itself'),
)


@dataclass
class Checkpoint:
    """Weights and what is known about them."""

    state_dict: Dict[str, Tensor]  # as saved; its _metadata holds the reference grid if that is known
    source: str
    path: Path  # on this machine
    container: str  # 'safetensors', 'zip' or 'pickle'
    nesting: str  # the key that the weights were under, '' for none
    format: str  # the library whose names they have, see ``detect_format``
    ref_grid: Optional[Grid]  # the pretraining grid that it records, or None
    meta: Dict[str, Any]
    whole: Any  # the whole content of the file, optimizer included


@contextmanager
def reading_once() -> Iterator[None]:
    """Opens each checkpoint only once in a ``with`` block, however often it is read there.

    For a job that checks its weights before it loads them: ``read_checkpoint`` and, through it, MMEngine's loaders
    return the same tensors, on the CPU, each time in new dicts. Leave the block before training begins: an optimizer
    may update the tensors it was given in place. Blocks may be nested; leaving the outermost frees the checkpoints.
    """
    global _KEPT
    outer = _KEPT
    _KEPT = {} if outer is None else outer
    try:
        yield
    finally:
        _KEPT = outer


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
    path = locate(source)
    kind = container(path)
    whole = _read_safetensors(path) if kind == 'safetensors' else load_pickle(path, map_location, trust_pickle)
    if not isinstance(whole, Mapping):
        raise CheckpointError(f'{path} holds a {type(whole).__name__}, not weights by name; save a state_dict')
    inner, nesting = unnest(whole)
    state = OrderedDict((name, value) for name, value in inner.items() if isinstance(value, Tensor))
    if not state:
        keys = ', '.join(map(str, list(whole)[:5])) or 'nothing'
        raise CheckpointError(f'{path} holds no weights: neither tensors by name nor a state_dict of them, but {keys}')
    meta = dict(whole['meta']) if isinstance(whole.get('meta'), Mapping) else {}
    state._metadata = getattr(inner, '_metadata', OrderedDict())
    try:
        if isinstance(meta.get('mmlocat'), str):  # safetensors hold text alone
            meta['mmlocat'] = json.loads(meta['mmlocat'])
        ref_grid = _known_grid(state._metadata, meta, path)
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f'{path}: its record of the pretraining grid, or the config.json beside it, cannot be '
                              f'read ({error}); fetch or convert it again') from error
    if ref_grid is not None:
        for prefix in ('', 'backbone'):
            state._metadata.setdefault(prefix, {}).setdefault('ref_grid', ref_grid)
    return Checkpoint(state, source, path, kind, nesting, detect_format(list(state)), ref_grid, meta, whole)


def container(path: Union[str, Path]) -> str:
    """Tells by a file's content, not by its name, how a checkpoint is stored.

    Returns:
        'safetensors', 'zip' (``torch.save``) or 'pickle' (``torch.save`` before PyTorch 1.6).

    Raises:
        CheckpointError: The file has another format or is cut off; the message says what it is.
    """
    with open(path, 'rb') as file:
        head = file.read(32)
    if not head:
        raise CheckpointError(f'{path} is empty; fetch or save it again')
    for beginning, problem in _OTHERS:
        if head.lstrip(b'\xef\xbb\xbf \t\r\n').startswith(beginning):
            raise CheckpointError(f'{path} {problem}')
    if head.startswith(b'PK\x03\x04'):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile as error:
            raise CheckpointError(f'{path} is cut off: its table of contents is missing ({error}); fetch or save it '
                                  'again') from error
        if any(name.endswith('/constants.pkl') for name in names):
            raise CheckpointError(f'{path} is a TorchScript program, which runs code when loaded; save its weights '
                                  "alone: torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), FILE)")
        return 'zip'
    if head[8:9] == b'{':
        return 'safetensors'
    if head[:2] in (b'\x80\x02', b'\x80\x03', b'\x80\x04', b'\x80\x05'):
        return 'pickle'
    raise CheckpointError(f'{path} begins with {head[:8]!r}, which is neither a PyTorch checkpoint nor safetensors')


def _read_safetensors(path: Path) -> Dict[str, Any]:
    from safetensors import SafetensorError, safe_open
    try:
        with safe_open(str(path), 'pt') as file:
            content: Dict[str, Any] = OrderedDict((name, file.get_tensor(name)) for name in file.keys())
            content['meta'] = file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f'{path} cannot be read as safetensors ({error}): it is cut off or damaged, so fetch it '
                              'again') from error
    return content


def _known_grid(metadata: Mapping, meta: Dict[str, Any], path: Path) -> Optional[Grid]:
    """Finds the pretraining grid in a LocAtViT's metadata, a converted file's meta, or a hub snapshot's config."""
    for entry in (*metadata.values(), meta.get('mmlocat')):
        if isinstance(entry, Mapping) and entry.get('ref_grid'):
            height, width = entry['ref_grid']
            return height, width
    config = path.parent / 'config.json'
    if path.name not in WEIGHT_FILES or not config.is_file():
        return None
    settings = json.loads(config.read_text(encoding='utf-8'))
    sizes = [settings.get(key) for key in ('img_size', 'patch_size')]
    if not all(isinstance(size, (int, list)) for size in sizes):
        return None
    images, patches = (size if isinstance(size, list) else [size, size] for size in sizes)
    return images[0] // patches[0], images[1] // patches[1]
