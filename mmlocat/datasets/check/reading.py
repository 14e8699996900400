"""Opens files: checks that images decode completely, and which values label maps hold."""

from __future__ import annotations

import io
import random
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from .report import Report
from .samples import Sample

_MOST_VALUES = 5  # the most values of a label map that a message shows
_ORIENTATION = 0x0112  # EXIF tag
_ON_ITS_SIDE = (5, 6, 7, 8)  # values of that tag that exchange height and width

_TURNED = 'labels of images that their EXIF orientation turns when they are loaded, which no label is'
_KEEP_STORED = "LoadImageFromFile(color_type='color_ignore_orientation') in every pipeline, to keep the stored pixels"
_MEND = ("make the files anew, or take image and label away together; for other label values, correct the data set's "
         'metainfo.classes and reduce_zero_label')
_ONE_VALUE = ('number the classes from 0 (255 is left out of training and scores, so labels of 0 and 255 need 1 in its '
              'place); reduce_zero_label=True leaves 0 out')


def open_samples(report: Report, samples: Sequence[Sample], count: Optional[int], progress: bool,
                 values: Optional[range] = None, ignored: Sequence[int] = (), as_stored: bool = False,
                 left_out: Sequence[int] = ()) -> None:
    """Opens ``count`` samples, always the same ones, or all for None, and reports their faults.

    ``values`` are the classes in label files, None checks none; ``ignored`` are other values that they may hold;
    ``as_stored`` says that images are loaded without being turned by their EXIF orientation; ``left_out`` are those
    classes that loading takes out of the labels.
    """
    if count is not None and count < len(samples):
        samples = [samples[i] for i in sorted(random.Random(0).sample(range(len(samples)), count))]
    report.read = len(samples)
    found: Dict[str, List[str]] = {}
    held: Set[int] = set()  # values in the label maps
    with ThreadPool() as pool:  # threads suffice: decoding is C code that releases the GIL
        read = pool.imap(lambda sample: list(_faults(sample, values, ignored, as_stored, held)), samples, chunksize=32)
        for faults in track(read, f'Opening {report.title}', len(samples), console=Console(stderr=True),
                            disable=not (progress and samples)):  # on stderr, since stdout is for scripts
            for kind, text in faults:
                found.setdefault(kind, []).append(text)
    for kind, texts in found.items():
        report.some(kind, texts, len(samples), _KEEP_STORED if kind == _TURNED else report.advice(_MEND))
    classes = set(values or ()).difference(left_out, ignored)
    counted = held & classes
    if held and len(samples) > 1 and len(classes) > 1 and len(counted) < 2:
        alone = f'the value {min(counted)} alone' if counted else 'no value'
        others = ', '.join(map(str, sorted(held - counted)[:_MOST_VALUES]))
        report.remark(f'the {len(samples)} label maps that were opened hold {alone} of {len(classes)} classes'
                      + (f', beside {others}' if others else '') + '; a model learns nothing else from them',
                      report.advice(_ONE_VALUE))


def _faults(sample: Sample, values: Optional[range], ignored: Sequence[int], as_stored: bool,
            held: Set[int]) -> Iterator[Tuple[str, str]]:
    """Yields the faults of a sample: the kind of each, and the file with what is wrong; adds its values to ``held``."""
    image = label = None
    try:
        image = decode(sample.image) if _is_picture(sample.image) else None
    except Exception as error:  # decoders may raise anything for damaged bytes
        yield 'images that cannot be read', f'{sample.image}: {error}'
    try:
        label = None if sample.label is None else decode(sample.label)
    except Exception as error:
        yield 'labels that cannot be read', f'{sample.label}: {error}'
    if label is None:
        return
    pixels = np.asarray(label)
    if pixels.ndim != 2 or pixels.dtype.kind not in 'biu':
        yield 'labels that are no maps of one whole number a pixel', f'{sample.label}: mode {label.mode}'
        return
    if image is not None:
        turned = image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE and not as_stored
        loaded = image.size[::-1] if turned else image.size
        if loaded != label.size:
            kind = _TURNED if image.size == label.size else 'labels of another size than their image'
            yield kind, f'{sample.label}: {label.size[0]} x {label.size[1]}, image {loaded[0]} x {loaded[1]}'
    found = np.unique(pixels).tolist()
    held.update(found)
    wrong = [str(value) for value in found
             if values is not None and value not in values and value not in ignored]
    if wrong:
        shown = ', '.join(wrong[:_MOST_VALUES]) + (' ...' if len(wrong) > _MOST_VALUES else '')
        yield f'labels with values outside 0 to {values[-1]} and 255', f'{sample.label}: {shown}'


def _is_picture(path: str) -> bool:
    """Tells whether Pillow can judge an image; arrays and TIFFs of many channels are left to the user's own loader."""
    if Path(path).suffix.lower() not in Image.registered_extensions():
        return Path(path).stat().st_size == 0  # an empty file is none of any kind
    with open(path, 'rb') as file:
        if file.read(4) not in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):  # TIFF and BigTIFF
            return True
    try:
        Image.open(path).close()
    except Image.UnidentifiedImageError:
        return False
    return True


def decode(path: str) -> Image.Image:
    """Reads an image file to its last byte.

    Raises:
        ValueError: The file is empty or no image; damaged ones raise whatever the decoder does.
    """
    content = Path(path).read_bytes()
    if not content:
        raise ValueError('empty file')
    try:
        image = Image.open(io.BytesIO(content))
    except Image.UnidentifiedImageError:
        raise ValueError('no image') from None
    image.load()  # fails for a truncated file, whose missing part OpenCV would fill with grey
    return image
