"""Measures frozen features block by block: similarity, rank, attention distance, and the accuracy of probes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import nn

from .blocks import BlockMaps, Maps
from .maps import collect, largest_side, prepare_image
from .measures import class_similarity, effective_rank, patch_similarity
from .sources import IMAGES, read_image, read_labels, shrink

IGNORED = 255
_NEIGHBOURS = 20


class Measure(NamedTuple):
    """How a measure is shown: heading and digits of its column; title and unit of its panel, if it has one."""

    column: str
    digits: int
    panel: str = ''
    unit: str = ''


# What is measured of the output of each block. Accuracies are in percent, and None without labels; those by class are
# averaged over classes. Neighbours are the 20 nearest, by cosine.
MEASURES = {
    'class_similarity': Measure('to [CLS]', 2, 'Patch tokens to [CLS]', 'cosine similarity'),  # None without a token
    'patch_similarity': Measure('to each other', 2, 'Patch tokens to each other', 'cosine similarity'),
    'effective_rank': Measure('eff. rank', 1, 'Effective rank of patch tokens', 'directions'),
    'attention_distance': Measure('distance', 2, 'Mean attention distance', 'patches'),
    'linear': Measure('linear %', 1),
    'linear_by_class': Measure('by class %', 1, 'Linear probe of patches', '% right, mean over classes'),
    'neighbours': Measure('k-NN %', 1),
    'neighbours_by_class': Measure('by class %', 1, '20 nearest neighbours of patches', '% right, mean over classes'),
}
BlockFeatures = Dict[str, Optional[float]]  # by measure


class Pair(NamedTuple):
    """An image and its map of labels, None where it has none."""

    image: Path
    labels: Optional[Path]


class _Labelled(NamedTuple):
    """Labelled patches drawn from an image: their features, (blocks, n, C), and labels, (n,)."""

    features: np.ndarray
    labels: np.ndarray


def find_pairs(images: Path, labels: Optional[Path], most: int) -> List[Pair]:
    """Lists a folder's images with their label maps: same name, suffix .png.

    Args:
        images: Folder of images.
        labels: Folder of label maps; None where there are none.
        most: The largest number of images; of more, this many are taken, evenly spaced in the sorted names.

    Raises:
        FileNotFoundError: A folder does not exist, has no images, or lacks a label map.
    """
    for folder in (images, labels):
        if folder is not None and not folder.is_dir():
            raise FileNotFoundError(f'{folder} is not a folder')
    found = sorted(path for path in images.iterdir() if path.suffix.lower() in IMAGES)
    if not found:
        raise FileNotFoundError(f'{images} has no images ({", ".join(IMAGES)})')
    if len(found) > most:
        found = [found[i] for i in np.linspace(0, len(found) - 1, most).round().astype(int)]
    pairs = [Pair(path, labels / f'{path.stem}.png' if labels else None) for path in found]
    missing = [pair.labels for pair in pairs if pair.labels and not pair.labels.is_file()]
    if missing:
        raise FileNotFoundError(f'{len(missing)} of {len(pairs)} images in {images} have no label map, such as '
                                f'{missing[0]}; label maps have the names of the images and end in .png')
    return pairs


def patch_labels(labels: np.ndarray, maps: Maps) -> np.ndarray:
    """Returns the commonest label of each patch, row-major, (H*W,); ``IGNORED`` where that is the commonest.

    Args:
        labels: Label map, shape (height, width) of the image that went in.
        maps: Has grid and patch size.
    """
    (rows, columns), (height, width) = maps.grid, maps.patch_size
    padding = [(0, rows * height - labels.shape[0]), (0, columns * width - labels.shape[1])]
    padded = np.pad(labels, padding, constant_values=IGNORED)
    cells = padded.reshape(rows, height, columns, width).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    return np.array([np.bincount(cell).argmax() for cell in cells])


def _draw_patches(maps: Maps, labels: np.ndarray, most: int, random: np.random.Generator) -> _Labelled:
    """Draws random labelled patches of an image; the draw depends on labels alone, so it is the same for all models."""
    found = patch_labels(labels, maps)
    chosen = random.permutation(np.flatnonzero(found != IGNORED))[:most]
    tokens = [block.tokens[block.num_prefix_tokens:][torch.from_numpy(chosen)].float().cpu().numpy()
              for block in maps.blocks]
    return _Labelled(np.stack(tokens), found[chosen])


def probe(train: Tuple[np.ndarray, np.ndarray], test: Tuple[np.ndarray, np.ndarray]) -> List[float]:
    """Fits a linear probe and nearest neighbours to features, by scikit-learn, and tests both.

    Args:
        train: Features (n, C) and labels (n,).
        test: The same, of other images.

    Returns:
        Accuracy of the linear probe in percent, and its mean over classes; the same two of the neighbours.

    Raises:
        ValueError: The training patches are all of one class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, balanced_accuracy_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    if len(np.unique(train[1])) < 2:
        raise ValueError('the labelled patches to learn from have one class alone; give more images or other labels')
    figures: List[float] = []
    for model in (make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
                  KNeighborsClassifier(min(_NEIGHBOURS, len(train[1])), metric='cosine')):
        found = model.fit(*train).predict(test[0])
        present = np.isin(test[1], np.unique(train[1]))  # a class without training patches cannot be learned
        figures += [100 * accuracy_score(test[1], found),
                    100 * balanced_accuracy_score(test[1][present], found[present])]
    return figures


def measure_features(model: nn.Module, pairs: Sequence[Pair], train: Sequence[Pair] = (), max_side: int = 0,
                     max_patches: int = 10000, seed: int = 0) -> List[BlockFeatures]:
    """Measures the features of every block of a frozen model.

    Args:
        model: A model with data preprocessor and backbone; see ``load_model``.
        pairs: Images to measure on, with labels or without.
        train: Other images, with labels, that the probes learn from; without any, no probes are fitted.
        max_side: Longer images are shrunk to this many px; 0 means three times the side of pretraining.
        max_patches: The largest number of labelled patches to learn from, and to test on.
        seed: Seed of the draw of patches.

    Returns:
        For each block the figures by name, None for what was not measured.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: An image or its labels cannot be read, or the labels are of one class.
        TypeError: The model has no ViT.
    """
    max_side = max_side or largest_side(model)
    measured: List[List[List[float]]] = []  # by image and block
    learned: List[_Labelled] = []
    tested: List[_Labelled] = []
    for part, patches in ((train, learned), (pairs, tested)):
        random = np.random.default_rng(seed)
        for pair in part:
            picture = shrink(read_image(pair.image), max_side)[..., ::-1]
            maps = collect(model, prepare_image(model, picture))
            if train and pair.labels:
                labels = read_labels(pair.labels, picture.shape[:2])
                patches.append(_draw_patches(maps, labels, max(1, max_patches // len(part)), random))
            if part is pairs:
                measured.append([_measure(block) for block in maps.blocks])
    rows = []
    for index, figures in enumerate(np.mean(measured, axis=0).tolist()):
        if train:
            figures += probe(*[(np.concatenate([image.features[index] for image in images]),
                                np.concatenate([image.labels for image in images])) for images in (learned, tested)])
        known = [None if np.isnan(figure) else figure for figure in figures]
        rows.append(dict(itertools.zip_longest(MEASURES, known)))
    return rows


def _measure(block: BlockMaps) -> List[float]:
    """Returns the measures that need no labels, in the order of ``MEASURES``; NaN where a class token is missing."""
    tokens = block.tokens[None].float()
    patches = tokens[:, block.num_prefix_tokens:]
    similarity = class_similarity(tokens, block.num_prefix_tokens).item() if block.has_class_token else float('nan')
    return [similarity, patch_similarity(patches).item(), effective_rank(patches).item(),
            float(block.mean_distance().mean())]
