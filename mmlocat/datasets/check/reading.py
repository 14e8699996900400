"""Opens files: whether images decode to their last byte, and what values label maps hold."""

from __future__ import annotations

import io
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence, TypeVar

import mmengine.fileio as fileio
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

_CHUNK = 32  # samples a task: a million tasks would cost more than they do
_MOST_VALUES = 5  # shown of a label map
_ORIENTATION = 0x0112  # EXIF tag
_ON_ITS_SIDE = (5, 6, 7, 8)  # its values that exchange height and width

UNREADABLE_IMAGE, UNREADABLE_LABEL, NO_LABEL_MAP, SIZE, TURNED, VALUES = range(6)
Item = TypeVar('Item')


@dataclass(frozen=True)
class Sample:
    """Two files that belong together.

    Args:
        image: Path of the image.
        label: Path of its label map, or None.
    """

    image: str
    label: Optional[str] = None


def draw_sample(items: Sequence[Item], count: Optional[int], seed: int) -> List[Item]:
    """Returns ``count`` of the items in their order, the same ones for the same seed; all of them for None."""
    if count is None or count >= len(items):
        return list(items)
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), count))]


def read_samples(samples: Sequence[Sample],
                 is_allowed: Optional[np.ndarray] = None,
                 backend_args: Optional[dict] = None,
                 progress: str = '',
                 as_stored: bool = False) -> Dict[int, List[str]]:
    """Opens samples, in threads: decoding is C code that lets others run.

    Args:
        samples: What to open.
        is_allowed: Of shape (256,): which values a label may hold. None judges none.
        backend_args: Of mmengine's file backend.
        progress: Title of a progress bar; none without.
        as_stored: Whether images are read without being turned as their EXIF orientation says.

    Returns:
        What is wrong, by kind of fault: one text for each file.
    """
    def read(chunk: Sequence[Sample]) -> List[Dict[int, str]]:
        return [_faults(sample, is_allowed, backend_args, as_stored) for sample in chunk]

    chunks = [samples[i:i + _CHUNK] for i in range(0, len(samples), _CHUNK)]
    found: Dict[int, List[str]] = {}
    with ThreadPoolExecutor() as pool:
        console = Console(stderr=True)  # what is printed is for scripts
        for results in track(pool.map(read, chunks), progress, len(chunks), console=console, disable=not progress):
            for faults in results:
                for kind, text in faults.items():
                    found.setdefault(kind, []).append(text)
    return found


def _faults(sample: Sample, is_allowed: Optional[np.ndarray], backend_args: Optional[dict],
            as_stored: bool) -> Dict[int, str]:
    faults = {}

    def load(path: str, kind: int, finish: Callable[[Image.Image], Item]) -> Optional[Item]:
        try:
            content = fileio.get(path, backend_args)
            if not content:
                faults[kind] = f'{path}: empty file'
                return None
            return finish(Image.open(io.BytesIO(content)))
        except Image.UnidentifiedImageError:
            faults[kind] = f'{path}: no image'
        except Exception as error:  # decoders raise whatever damaged bytes suggest
            faults[kind] = f'{path}: {error}'
        return None

    def sizes_of(image: Image.Image) -> tuple:
        turned = image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE
        image.load()  # to the last byte; OpenCV would fill what is missing with grey
        return image.size, image.size[::-1] if turned and not as_stored else image.size

    sizes = load(sample.image, UNREADABLE_IMAGE, sizes_of)
    if sample.label is None:
        return faults
    label = load(sample.label, UNREADABLE_LABEL, lambda image: (image.size, image.mode, np.asarray(image)))
    if label is None:
        return faults
    label_size, mode, values = label
    if values.ndim != 2 or values.dtype.kind not in 'biu':
        faults[NO_LABEL_MAP] = f'{sample.label}: mode {mode}'
        return faults
    stored, loaded = sizes or (label_size, label_size)
    if loaded != label_size:
        faults[TURNED if stored == label_size else SIZE] = (
            f'{sample.label}: {label_size[0]} x {label_size[1]}, image {loaded[0]} x {loaded[1]}')
    wrong = [] if is_allowed is None else _wrong_values(values, is_allowed)
    if wrong:
        faults[VALUES] = f'{sample.label}: {", ".join(map(str, wrong[:_MOST_VALUES]))}' + (
            ' ...' if len(wrong) > _MOST_VALUES else '')
    return faults


def _wrong_values(values: np.ndarray, is_allowed: np.ndarray) -> List[int]:
    if values.dtype in (np.uint8, np.bool_):
        present = np.flatnonzero(np.bincount(values.ravel().astype(np.uint8), minlength=256))
    else:
        present = np.unique(values)  # 16 or 32 bit; mmseg would keep the last eight
    return [int(value) for value in present if not (0 <= value < 256 and is_allowed[value])]
