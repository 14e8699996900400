"""Loads the digits and photographs of DigitScenes, split so that no digit and no photo region is shared."""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple

import numpy as np

from mmlocat.datasets.scenes.spec import SPLITS
from mmlocat.utils import require_modules

# Two thirds of each class's digits are for training; val and test get half of the rest each.
_DIGIT_SHARES = (4 / 6, 5 / 6, 1.0)
# Ends of the splits' columns in each photograph, as shares of its width.
_COLUMN_SHARES = (0.6, 0.8, 1.0)


class Sources(NamedTuple):
    """The digits and photo regions of one split."""

    digits: np.ndarray  # (n, 8, 8), uint8 from 0 to 255
    labels: np.ndarray  # (n,), 0 to 9
    photos: Tuple[np.ndarray, ...]  # regions of the photographs, each (height, width, 3) RGB uint8


def load_sources(seed: int) -> Dict[str, Sources]:
    """Splits the 1,797 digits of scikit-learn, class by class, and the columns of its two photographs.

    The seed fixes which digit goes into which split, 'train', 'val' or 'test'.

    Raises:
        ImportError: scikit-learn is missing; the message names the extra.
    """
    require_modules(('sklearn', 'PIL'), 'demo', 'DigitScenes')
    from sklearn.datasets import load_digits, load_sample_images
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    order = [np.random.default_rng([seed, label]).permutation(np.flatnonzero(digits.target == label))
             for label in range(10)]
    photos = [np.asarray(photo) for photo in load_sample_images().images]
    sources = {}
    digit_start, column_start = 0.0, 0.0
    for split, digit_end, column_end in zip(SPLITS, _DIGIT_SHARES, _COLUMN_SHARES):
        chosen = np.sort(np.concatenate(
            [own[round(len(own) * digit_start):round(len(own) * digit_end)] for own in order]))
        regions = tuple(photo[:, round(photo.shape[1] * column_start):round(photo.shape[1] * column_end)]
                        for photo in photos)
        sources[split] = Sources(images[chosen], digits.target[chosen].astype(int), regions)
        digit_start, column_start = digit_end, column_end
    return sources
