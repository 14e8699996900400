"""Looks into label maps: which values they hold, and what these mean; writes them anew as class numbers."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
from mmseg.datasets import BaseSegDataset
from PIL import Image
from rich.console import Console
from rich.progress import track

from mmlocat.datasets.check.reading import decode
from mmlocat.datasets.check.report import examples
from mmlocat.utils import first_line

IGNORED = 255  # mmseg's value for pixels that are not learned
_MOST_COLOURS = 254
# A colour, or a class number.
Value = Union[int, Tuple[int, int, int]]


@dataclass
class Survey:
    """What label maps and images were found to be.

    Args:
        maps: Number of label maps opened.
        values: Pixels of each value.
        modes: Label maps of each of Pillow's modes.
        sizes: Images of each size, (width, height).
        image_modes: Images of each mode.
        palette: The colours that the label maps have beside their numbers; None without.
    """

    maps: int = 0
    values: Counter = field(default_factory=Counter)
    modes: Counter = field(default_factory=Counter)
    sizes: Counter = field(default_factory=Counter)
    image_modes: Counter = field(default_factory=Counter)
    palette: Optional[List[List[int]]] = None

    @property
    def coloured(self) -> bool:
        """Whether label maps hold colours in place of numbers."""
        return any(isinstance(value, tuple) for value in self.values)

    @property
    def short_side(self) -> int:
        """The median of the images' shorter sides, in pixels."""
        sides = sorted(side for size, count in self.sizes.items() for side in [min(size)] * count)
        return sides[len(sides) // 2]

    def share(self, value: Value) -> float:
        """Returns a value's share of all pixels."""
        return self.values[value] / max(1, sum(self.values.values()))


@dataclass
class Classes:
    """The meaning of label values.

    Args:
        names: The classes, in the order of their numbers.
        palette: A colour (R, G, B) of each.
        reduce_zero_label: Whether the label maps hold 0 for unlabelled pixels, and classes from 1.
        numbers: For label maps that must be written anew, the class of each value; None if they can be read as is.
        remarks: What a user should know about it.
    """

    names: List[str]
    palette: List[List[int]]
    reduce_zero_label: bool = False
    numbers: Optional[Dict[Value, int]] = None
    remarks: List[str] = field(default_factory=list)


def survey(images: Sequence[Path], labels: Sequence[Path] = (), count: Optional[int] = None,
           progress: bool = False) -> Survey:
    """Opens images and label maps, ``count`` of each, always the same ones, or all for None.

    Raises:
        ValueError: A file cannot be read, or a label map is no map of numbers or colours; the message names it.
    """
    places = list(range(len(images)))
    if count is not None and count < len(places):
        places = sorted(random.Random(0).sample(places, count))
    found = Survey()
    jobs = [(images[i], labels[i] if labels else None) for i in places]
    with ThreadPool() as pool:  # threads suffice: decoding is C code that releases the GIL
        read = track(pool.imap(_look, jobs, chunksize=8), 'Opening your data', len(jobs),
                     console=Console(stderr=True), disable=not progress)
        for size, mode, label_mode, values, palette in read:
            found.sizes[size] += 1
            found.image_modes[mode] += 1
            if label_mode:
                found.maps += 1
                found.modes[label_mode] += 1
                found.values.update(values)
                found.palette = found.palette or palette
    if found.coloured and len(found.values) > _MOST_COLOURS:
        raise ValueError(f'the label maps hold {len(found.values):,} colours, too many for classes: they were blurred, '
                         'resized with interpolation or compressed; export them anew as PNG without any of it')
    return found


def _look(job: Tuple[Path, Optional[Path]]) -> tuple:
    image_path, label_path = job
    try:
        with Image.open(image_path) as image:
            size, mode = image.size, image.mode
    except Exception as error:  # decoders may raise anything for damaged bytes
        raise ValueError(f'{image_path} cannot be read: {first_line(error)}; make it anew, or take it away') from error
    if label_path is None:
        return size, mode, '', {}, None
    try:
        label = decode(str(label_path))
    except Exception as error:
        raise ValueError(f'{label_path} cannot be read: {first_line(error)}; make it anew, or take it away') from error
    if label.mode == 'F':
        raise ValueError(f'{label_path} holds fractions, which are no class numbers; save it with whole ones as PNG')
    if label.format == 'JPEG':
        raise ValueError(f'{label_path} is a JPEG, which changes the values of label maps; export them as PNG')
    numbers = _numbers(label)
    if numbers.max() < 1 << 16:  # several times faster than sorting
        counts = np.bincount(numbers.ravel())
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(numbers, return_counts=True)
    palette = None
    if label.mode == 'P':
        palette = np.reshape(label.getpalette('RGB'), (-1, 3)).tolist()
    keys = map(_colour, values.tolist()) if _is_coloured(label) else values.tolist()
    return size, mode, label.mode, dict(zip(keys, counts.tolist())), palette


def _is_coloured(label: Image.Image) -> bool:
    return label.mode not in ('1', 'L', 'P') and not label.mode.startswith('I')


def _numbers(label: Image.Image) -> np.ndarray:
    """Returns a label map's numbers (H, W); of colours, one number for each: R * 65536 + G * 256 + B."""
    if not _is_coloured(label):
        return np.asarray(label).astype(np.int64)
    return np.asarray(label.convert('RGB')).astype(np.int64) @ np.array([65536, 256, 1])


def _colour(number: int) -> Tuple[int, int, int]:
    return number >> 16, number >> 8 & 255, number & 255


def read_classes(root: Path) -> Tuple[List[str], List[List[int]]]:
    """Returns names and colours of ``classes.txt`` in a folder; both are empty without it.

    A line is a name, or a name and three numbers: red, green, blue.

    Raises:
        ValueError: Some lines have colours, some have none, or a name comes twice.
    """
    path = root / 'classes.txt'
    if not path.is_file():
        return [], []
    names, colours = [], []
    for line in filter(None, map(str.strip, path.read_text(encoding='utf-8').splitlines())):
        match = re.fullmatch(r'(.+?)[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})', line)
        names.append(match[1] if match else line)
        colours += [[int(match[i]) for i in (2, 3, 4)]] if match else []
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or len(colours) not in (0, len(names)):
        wrong = f'{examples(twice)} twice' if twice else f'{len(names)} names, and colours for {len(colours)} of them'
        raise ValueError(f'{path} has {wrong}; a line is NAME or NAME R G B, each name once, all in the same way')
    return names, colours


def name_classes(found: Survey, names: Sequence[str], colours: Sequence[Sequence[int]] = (),
                 zero_is_unlabelled: bool = False) -> Classes:
    """Says what the values of label maps mean.

    255 is unlabelled. 0 is unlabelled too if ``zero_is_unlabelled``; else, with ``names``, if the largest value is
    their number, and without, if no map holds it.

    Args:
        found: What the maps hold.
        names: The classes, in the order of their numbers; empty if unknown.
        colours: A colour of each class; empty if unknown.
        zero_is_unlabelled: Whether 0, or black, is no class.

    Raises:
        ValueError: The values do not fit the names, or nothing is labelled.
    """
    remarks: List[str] = []
    if found.coloured:
        numbers = _number_colours(found, names, colours, zero_is_unlabelled, remarks)
        palette = [list(value) for value in sorted(numbers, key=lambda value: numbers[value])]
        return Classes(_named(names, len(palette)), palette, numbers=numbers, remarks=remarks)
    values = sorted(value for value in found.values if value != IGNORED)
    reduce = zero_is_unlabelled or bool(values) and (values[-1] == len(names) if names else values[0] > 0)
    labelled = [value for value in values if value or not reduce]
    if not labelled:
        raise ValueError(f'the label maps hold {_values(found)} alone: all is unlabelled, so nothing can be learned; '
                         'are these the right files? --labels FOLDER names others')
    if values == [0] and IGNORED in found.values and not reduce:
        remarks.append('0 and 255 alone: masks of one object, where mmseg would ignore 255')
        return Classes(_named(names or ('background', 'object'), 2), _palette(2, colours),
                       numbers={0: 0, IGNORED: 1}, remarks=remarks)
    known = len(names) or labelled[-1] + 1 - reduce
    gaps = not names and known > 2 * len(labelled) + 1
    if labelled[-1] >= IGNORED or gaps or names and labelled[-1] - reduce >= len(names) == len(labelled):
        reason = 'mmseg reads 8 bits' if labelled[-1] >= IGNORED else 'most numbers below it are no class'
        remarks.append(f'{len(labelled):,} values up to {labelled[-1]:,}: {reason}')
        if len(labelled) > _MOST_COLOURS:
            raise ValueError(f'the label maps hold {len(labelled):,} values, too many for classes of 8 bits; are they '
                             'numbers of objects, not of classes?')
        return Classes(_named(names, len(labelled)), _palette(len(labelled), colours),
                       numbers={value: i for i, value in enumerate(labelled)}, remarks=remarks)
    if labelled[-1] - reduce >= known:
        raise ValueError(f'the label maps hold {_values(found)}, but classes.txt has {known} names; add the missing '
                         'names, a line each in the order of the numbers')
    if reduce:
        remarks.append('0 is read as unlabelled (reduce_zero_label=True)')
    if known < 2:
        advice = 'give the pixels around your objects a number of their own'
        if reduce and 0 in found.values:  # they have: 0
            advice = ('leave --zero-is-unlabelled out' if zero_is_unlabelled else
                      'add the name of 0, such as background, as the first line of classes.txt')
        raise ValueError(f'the label maps hold one class alone ({_values(found)}); a segmentor needs two or more: '
                         f'{advice}')
    unseen = [str(i) for i in range(known) if i + reduce not in found.values]
    if unseen:
        remarks.append(f'{len(unseen)} of {known} classes are in none of the maps that were opened (numbers '
                       f'{examples(unseen)})')
    if not colours and found.palette and len(found.palette) >= known + reduce:
        colours = found.palette[int(reduce):known + reduce]
    return Classes(_named(names, known), _palette(known, colours), reduce, remarks=remarks)


def _values(found: Survey) -> str:
    return f'the values {examples([str(value) for value in sorted(found.values)])}'


def _named(names: Sequence[str], count: int) -> List[str]:
    if names and len(names) != count:
        raise ValueError(f'there are {count} classes, but {len(names)} names: {examples(list(names))}; give '
                         'classes.txt one line a class')
    return list(names) or [f'class_{i}' for i in range(count)]


def _palette(count: int, colours: Sequence[Sequence[int]]) -> List[List[int]]:
    """Returns given colours, or those that mmseg draws for so many classes."""
    if colours:
        return [list(colour) for colour in colours]
    names = tuple(map(str, range(count)))
    return BaseSegDataset(metainfo=dict(classes=names), lazy_init=True).metainfo['palette']


def _number_colours(found: Survey, names: Sequence[str], colours: Sequence[Sequence[int]], black_is_unlabelled: bool,
                    remarks: List[str]) -> Dict[Value, int]:
    """Returns the class of each colour: in the order of ``colours``, else sorted, both without black if it is none."""
    if any(not isinstance(value, tuple) for value in found.values):
        raise ValueError(f'some label maps hold colours, others numbers (modes {", ".join(sorted(found.modes))}); save '
                         'all in one way')
    order = [tuple(colour) for colour in colours]
    if not order:
        order = sorted(value for value in found.values if any(value) or not black_is_unlabelled)
        if not names:
            remarks.append('name the colours in classes.txt, a line "NAME R G B" each: they are numbered in its order')
    unknown = [value for value in found.values if value not in order]
    if unknown:
        share = sum(found.share(value) for value in unknown)
        remarks.append(f'{len(unknown)} colours are no class ({examples([str(value) for value in unknown])}): '
                       f'{share:.1%} of the pixels become unlabelled')
    if len(unknown) == len(found.values):
        raise ValueError('no colour of the label maps is in classes.txt; correct its numbers, NAME R G B a line')
    return {value: i for i, value in enumerate(order)}


def convert(source: Path, target: Path, numbers: Dict[Value, int]) -> None:
    """Writes a label map anew: 8 bits, a class for each value of ``numbers``, 255 for all others."""
    label = decode(str(source))
    values, places = np.unique(_numbers(label), return_inverse=True)
    keys = [_colour(value) for value in values.tolist()] if _is_coloured(label) else values.tolist()
    table = np.array([numbers.get(key, IGNORED) for key in keys], np.uint8)
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(table[places].reshape(label.size[::-1])).save(target)
