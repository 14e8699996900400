"""Loads stamps and backgrounds, split so that no stamp, nothing alike and no region of a photograph is shared."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import numpy as np
from PIL import Image

from mmlocat.datasets.scenes.spec import SPLITS
from mmlocat.utils import require_modules

from .catalogue import CLASSES, DISTRACTORS, families, names
from .package import prepare_stamps

# Of each class's stamps; what is left is for training. Validation is only watched, so it gets the least.
_SHARES = {'test': 0.25, 'val': 0.15}
_LARGEST = 128  # px of a stamp's longer side; more is never drawn
# Ends of the splits' columns in the photograph, as shares of its width of 640 px.
_COLUMN_SHARES = (0.6, 0.8, 1.0)


class Sources(NamedTuple):
    """The stamps and the background of one split."""

    stamps: Tuple[Tuple[np.ndarray, ...], ...]  # of each class, each (height, width, 4) RGBA uint8
    distractors: Tuple[np.ndarray, ...]  # objects of no class
    photo: np.ndarray  # region of a photograph, (height, width, 3) RGB uint8


def divide(seed: int) -> Dict[str, Dict[str, List[str]]]:
    """Divides the catalogue, class by class, with what is alike kept together; the seed decides.

    Returns:
        For each split, 'train', 'val' or 'test': the names of each class's stamps, and of 'distractor'.
    """
    parts: Dict[str, Dict[str, List[str]]] = {split: {} for split in SPLITS}
    for number, (title, folders) in enumerate({**CLASSES, 'distractor': DISTRACTORS}.items()):
        stamps = names(folders)
        groups = families(stamps)
        waiting = [groups[i] for i in np.random.default_rng([seed, number]).permutation(len(groups))]
        for split, share in _SHARES.items():
            chosen: List[str] = []
            left = []
            for group in waiting:
                if len(chosen) + len(group) <= round(share * len(stamps)):
                    chosen += group
                else:
                    left.append(group)
            parts[split][title], waiting = sorted(chosen), left
        parts['train'][title] = sorted(name for group in waiting for name in group)
    return parts


def load_sources(seed: int) -> Dict[str, Sources]:
    """Reads stamps and the background of each split; the first call fetches the stamps.

    The background is scikit-learn's photograph of a temple. Its other one shows a flower, which is a class here.

    Raises:
        ImportError: scikit-learn is missing; the message names the extra.
        FileNotFoundError, ValueError, RuntimeError: As ``prepare_stamps`` does.
    """
    require_modules(('sklearn', 'PIL'), 'demo', 'StampScenes')
    from sklearn.datasets import load_sample_image
    folder, photo = prepare_stamps(), load_sample_image('china.jpg')
    start, sources = 0.0, {}
    for (split, parts), end in zip(divide(seed).items(), _COLUMN_SHARES):
        read = {title: tuple(read_stamp(folder / f'{name}.png') for name in part) for title, part in parts.items()}
        region = photo[:, round(photo.shape[1] * start):round(photo.shape[1] * end)]
        sources[split] = Sources(tuple(read[title] for title in CLASSES), read['distractor'], region)
        start = end
    return sources


def read_stamp(path: Path) -> np.ndarray:
    """Returns a stamp as RGBA uint8 without its empty margin, at most 128 px long."""
    stamp = Image.open(path).convert('RGBA')
    stamp = stamp.crop(stamp.getchannel('A').point(lambda value: 255 * (value > 127)).getbbox())
    stamp.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    return np.asarray(stamp)
