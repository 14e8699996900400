"""Divides samples into training and validation: by folders, by list files, or by a stated rule."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional

from mmlocat.datasets.check.report import examples

_SPLITS = {'train': r'train(ing)?', 'val': r'val(id|idation)?|dev', 'test': r'test(ing)?'}
_LIST_FOLDERS = ('', 'splits', 'lists', 'ImageSets', 'ImageSets/Segmentation', 'ImageSets/Main', 'meta')
_VALIDATION = 5  # one sample of so many


@dataclass
class Split:
    """The samples of one split.

    Args:
        images: Folder of the images, below the root.
        labels: Folder of the label maps, below the root; '' for classification.
        names: For segmentation the samples' paths below both folders, without the suffixes of image and label; for
            classification the images' paths below ``images``.
        numbers: For classification, the class of each.
        complete: Whether the folder holds these samples and no others, so that no list file is needed.
    """

    images: str
    labels: str = ''
    names: List[str] = field(default_factory=list)
    numbers: List[int] = field(default_factory=list)
    complete: bool = False

    def part(self, chosen: List[int]) -> Split:
        """Returns the samples at these places as a split that needs a list file."""
        numbers = [self.numbers[i] for i in chosen] if self.numbers else []
        return Split(self.images, self.labels, [self.names[i] for i in chosen], numbers)


def split_of(folder: str) -> Optional[str]:
    """Returns 'train', 'val' or 'test' for a folder or list of that name (``training``, ``val2017``); else None."""
    for split, pattern in _SPLITS.items():
        if re.fullmatch(rf'({pattern})[_-]?(\d{{4}})?', folder, re.IGNORECASE):
            return split
    return None


def find_lists(root: Path) -> Dict[str, Path]:
    """Returns the list files ``train.txt``, ``val.txt``, ``test.txt`` and ``list.txt`` of a folder, by split.

    They are looked for in the folder itself and where Pascal VOC, mmseg and mmpretrain have them. ``list.txt``
    ('all') names the samples that are to be divided.
    """
    for folder in _LIST_FOLDERS:
        found = {split_of(path.stem) or ('all' if path.stem == 'list' else ''): path
                 for path in sorted((root / folder).glob('*.txt'))}
        found.pop('', None)
        if found:
            return found
    return {}


def divide(splits: Dict[Optional[str], Split], remarks: List[str]) -> Dict[str, Split]:
    """Returns the splits 'train' and 'val'; what was done to get them is added to ``remarks``.

    Raises:
        ValueError: There are too few samples to divide.
    """
    found = {name: split for name, split in splits.items() if split.names}
    if 'train' not in found and None not in found:
        raise ValueError(f'there is a split {" and ".join(map(str, found)) or "with nothing in it"}, but none to train '
                         'on; name its folder or its list file "train"')
    train = found['train' if 'train' in found else None]
    for name in ('val', 'test'):
        if name in found:
            if name == 'test':
                remarks.append('there is no validation split: the test split serves, so choose nothing by its results')
            elif 'test' in found:
                remarks.append('the test split is left alone; test_dataloader reads the validation split')
            return dict(train=train, val=found[name])
    count = len(train.names)
    if count < 2:
        raise ValueError(f'{count} sample cannot be divided into training and validation; add more')
    order = random.Random(0).sample(range(count), count)
    held = max(1, round(count / _VALIDATION))
    remarks.append(f'no validation split was found: {held:,} of {count:,} samples, drawn with seed 0, become it; edit '
                   'the list files beside the config for another choice')
    return dict(train=train.part(sorted(order[held:])), val=train.part(sorted(order[:held])))


def pick(split: Split, lists: Dict[str, Path], prefixes: List[str], suffixes: List[str]) -> Dict[Optional[str], Split]:
    """Returns the splits that list files make of all samples; a line's first word names a sample.

    Args:
        split: All samples.
        lists: List files by split; 'all' names the samples that are to be divided.
        prefixes: Folders that a line may begin with.
        suffixes: Endings that a line may have.

    Raises:
        ValueError: A line names no sample; the message has the list and the line.
    """
    places = {name: i for i, name in enumerate(split.names)}
    picked: Dict[Optional[str], Split] = {}
    for name, path in lists.items():
        chosen, unknown = [], []
        for line in filter(None, map(str.strip, path.read_text(encoding='utf-8').splitlines())):
            word = re.split(r'[\s,]', line)[0].replace('\\', '/')
            word = word[2:] if word.startswith('./') else word
            begun = [word[len(prefix) + 1:] for prefix in prefixes if prefix and word.startswith(f'{prefix}/')]
            tried = [part[:-len(end)] if end and part.endswith(end) else part
                     for part in (word, *begun) for end in ('', *suffixes)]
            place = next((places[part] for part in tried if part in places), None)
            chosen += [] if place is None else [place]
            unknown += [line] if place is None else []
        if unknown:
            raise ValueError(f'{path} has {len(unknown):,} lines that name no labelled image ({examples(unknown)}); '
                             f'a line names one as {split.names[0]!r}; correct the list, or take it away')
        picked[None if name == 'all' else name] = split.part(chosen)
    return picked
