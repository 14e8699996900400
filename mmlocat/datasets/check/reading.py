"""Lists and opens files: checks that images decode completely, and which values label maps hold."""

from __future__ import annotations

import io
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List, NamedTuple, Optional, Sequence

import mmengine.fileio as fileio
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from .report import Report

# Files with other suffixes (lists, notes) are ignored.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.gif', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
_CHUNK = 32  # samples per task; a task for each sample would cost more than the reading
_MOST_VALUES = 5  # the most values of a label map that a message shows
_ORIENTATION = 0x0112  # EXIF tag
_ON_ITS_SIDE = (5, 6, 7, 8)  # values of that tag that exchange height and width

# Kinds of faults, in the order in which they are reported.
_IMAGE = 'images that cannot be read'
_LABEL = 'labels that cannot be read'
_NO_MAP = 'labels that are no maps of one whole number a pixel'
_SIZE = 'labels of another size than their image'
_TURNED = 'labels of images that their EXIF orientation turns when they are loaded, which no label is'
_VALUES = 'labels with values outside '
_KEEP_STORED = "LoadImageFromFile(color_type='color_ignore_orientation') in every pipeline, to keep the stored pixels"


class Sample(NamedTuple):
    """The paths of an image and of its label map, which may be None."""

    image: str
    label: Optional[str] = None


class Loading(NamedTuple):
    """How a data set loads its samples, and which values their labels may hold.

    Args:
        backend: Arguments of mmengine's file backend.
        as_stored: Whether images are loaded without being turned by their EXIF orientation.
        allowed: Shape (256,): which values a label may hold. None checks no values.
    """

    backend: Optional[dict] = None
    as_stored: bool = False
    allowed: Optional[np.ndarray] = None


def list_files(folder: str, backend: Optional[dict] = None) -> List[str]:
    """Lists a folder as both libraries do: recursively, without hidden files."""
    return sorted(fileio.list_dir_or_file(folder, list_dir=False, recursive=True, backend_args=backend))


def open_samples(report: Report, samples: Sequence[Sample], count: Optional[int], seed: int, loading: Loading,
                 progress: bool) -> None:
    """Opens samples and reports their faults.

    It works in threads, since decoding is C code that releases the GIL.

    Args:
        report: The report to fill in.
        samples: All samples of a split.
        count: How many to open, the same ones for the same seed; None opens all.
        seed: Seed of the choice.
        loading: How the data set loads its samples.
        progress: Whether to draw a progress bar.
    """
    if count is not None and count < len(samples):
        samples = [samples[i] for i in sorted(random.Random(seed).sample(range(len(samples)), count))]
    report.read = len(samples)
    found: Dict[str, List[str]] = {}
    chunks = [samples[i:i + _CHUNK] for i in range(0, len(samples), _CHUNK)]
    with ThreadPoolExecutor() as pool:
        read = pool.map(lambda chunk: [_faults(sample, loading) for sample in chunk], chunks)
        console = Console(stderr=True)  # stdout is for scripts
        for faults in track(read, f'Opening {report.title}', len(chunks), console=console,
                            disable=not (progress and chunks)):
            for kind, text in (item for fault in faults for item in fault.items()):
                found.setdefault(kind, []).append(text)
    advice, allowed = report.advice, loading.allowed
    for kind, fix in ((_IMAGE, advice.damaged_images), (_LABEL, advice.damaged_labels),
                      (_NO_MAP, advice.damaged_labels), (_SIZE, advice.damaged_labels), (_TURNED, _KEEP_STORED),
                      (_VALUES, advice.values)):
        last = '' if kind != _VALUES or allowed is None else (
            '0 to 255' if allowed.all() else f'0 to {np.flatnonzero(~allowed)[0] - 1} and 255')
        report.some(kind + last, found.get(kind, ()), len(samples), fix, ' opened')


def _decode(path: str, backend: Optional[dict]) -> Image.Image:
    content = fileio.get(path, backend)
    if not content:
        raise ValueError('empty file')
    try:
        image = Image.open(io.BytesIO(content))
    except Image.UnidentifiedImageError:
        raise ValueError('no image') from None
    image.load()  # fails for a truncated file, whose missing part OpenCV would fill with grey
    return image


def _faults(sample: Sample, loading: Loading) -> Dict[str, str]:
    """Returns the faults of a sample, as texts by kind of fault."""
    faults, opened = {}, {}
    for kind, path in ((_IMAGE, sample.image), (_LABEL, sample.label)):
        try:
            opened[kind] = _decode(path, loading.backend) if path is not None else None
        except Exception as error:  # decoders may raise anything for damaged bytes
            faults[kind] = f'{path}: {error}'
    image, label = opened.get(_IMAGE), opened.get(_LABEL)
    if label is None:
        return faults
    values = np.asarray(label)
    if values.ndim != 2 or values.dtype.kind not in 'biu':
        return {**faults, _NO_MAP: f'{sample.label}: mode {label.mode}'}
    if image is not None:
        turned = image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE and not loading.as_stored
        loaded = image.size[::-1] if turned else image.size
        if loaded != label.size:
            faults[_TURNED if image.size == label.size else _SIZE] = (
                f'{sample.label}: {label.size[0]} x {label.size[1]}, image {loaded[0]} x {loaded[1]}')
    wrong = [] if loading.allowed is None else _wrong_values(values, loading.allowed)
    if wrong:
        faults[_VALUES] = f'{sample.label}: {", ".join(map(str, wrong[:_MOST_VALUES]))}' + (
            ' ...' if len(wrong) > _MOST_VALUES else '')
    return faults


def _wrong_values(values: np.ndarray, is_allowed: np.ndarray) -> List[int]:
    if values.dtype in (np.uint8, np.bool_):
        present = np.flatnonzero(np.bincount(values.ravel().astype(np.uint8), minlength=256))
    else:
        present = np.unique(values)  # 16 or 32 bits; mmseg would keep the lowest eight
    return [int(value) for value in present if not (0 <= value < 256 and is_allowed[value])]
