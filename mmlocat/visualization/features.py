"""Runs ``tools/analysis/features.py``: measures models' frozen features block by block, draws and tabulates them."""

from __future__ import annotations

import argparse
import hashlib
import json
from itertools import cycle
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmlocat.datasets.digit_scenes import DigitScenesSegmentation
from mmlocat.models.building import load_model
from mmlocat.utils import check_folder, with_progress
from mmlocat.utils.kept_rows import KeptRows
from mmlocat.utils.tables import Table

from .arguments import ModelFiles
from .blocks import BlockMaps, Maps
from .maps import collect, largest_side, prepare_image
from .pictures import load_image, swap_colours
from .sources import IMAGES, read_labels, shrink
from .style import LINES, MARKERS, draw_band, new_page, save

_IGNORED = 255
_MOST_PATCHES = 10000  # labelled ones to learn from, and to test on

_Pair = Tuple[Path, Optional[Path]]  # an image and its label map
_Results = Dict[str, np.ndarray]  # (models, blocks, measures) by title; models of one title are seeds of one kind


class _Measure(NamedTuple):
    """How a measure is shown: heading and digits of its column; title and unit of its panel, if it has one."""

    column: str
    digits: int
    panel: str = ''
    unit: str = ''


# What is measured of the output of each block: first what needs no labels, then accuracies in percent; those by class
# are averaged over classes. Neighbours are compared by cosine.
_UNLABELLED = [
    _Measure('to [CLS]', 2, 'Patch tokens to [CLS]', 'cosine similarity'),
    _Measure('to each other', 2, 'Patch tokens to each other', 'cosine similarity'),
    _Measure('eff. rank', 1, 'Effective rank of patch tokens', 'directions'),
    _Measure('distance', 2, 'Mean attention distance', 'patches'),
]
_PROBES = [
    _Measure('linear %', 1),
    _Measure('by class %', 1, 'Linear probe of patches', '% right, mean over classes'),
    _Measure('k-NN %', 1),
    _Measure('by class %', 1, '20 nearest neighbours of patches', '% right, mean over classes'),
]


def _class_similarity(tokens: Tensor, num_prefix_tokens: int) -> float:
    """Returns the mean cosine similarity of the patch tokens of an image to its class token; ``tokens`` is (N, C)."""
    unit = normalize(tokens, dim=-1)
    return (unit[num_prefix_tokens:] @ unit[0]).mean().item()


def _patch_similarity(patches: Tensor) -> float:
    """Returns the mean cosine similarity between two different patch tokens of an image, (H*W, C); NaN of one."""
    count = len(patches)
    if count < 2:
        return np.nan
    total = normalize(patches, dim=-1).sum(dim=0).square().sum().item()  # over all pairs, each with itself included
    return (total - count) / (count * (count - 1))


def _effective_rank(patches: Tensor) -> float:
    """Returns how many directions the patch tokens of an image, (H*W, C), spread over, after subtracting their mean.

    The exponential of the entropy of the singular values, scaled to sum to 1. Source: Roy and Vetterli, *The effective
    rank* (EUSIPCO 2007).
    """
    values = torch.linalg.svdvals(patches - patches.mean(dim=0))
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return torch.special.entr(share).sum().exp().item()


def _measure(block: BlockMaps) -> List[float]:
    """Returns the measures that need no labels; NaN where a class token is missing."""
    tokens, prefix = block.tokens.float(), block.num_prefix_tokens
    return [_class_similarity(tokens, prefix) if block.has_class_token else np.nan, _patch_similarity(tokens[prefix:]),
            _effective_rank(tokens[prefix:]), block.mean_distance(block.has_gaug).mean()]


def _patch_labels(labels: np.ndarray, block: BlockMaps) -> np.ndarray:
    """Returns the commonest label of each patch, row-major; what lies beyond the edge of ``labels`` is ignored."""
    (rows, columns), (height, width) = block.grid, block.patch_size
    padding = [(0, rows * height - labels.shape[0]), (0, columns * width - labels.shape[1])]
    padded = np.pad(labels, padding, constant_values=_IGNORED)
    cells = padded.reshape(rows, height, columns, width).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    return np.array([np.bincount(cell).argmax() for cell in cells])


def _probe(features: np.ndarray, labels: np.ndarray, others: np.ndarray, answers: np.ndarray) -> List[float]:
    """Fits a linear probe and neighbours to features (n, C) and labels (n,), and returns their accuracy on others."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, balanced_accuracy_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    if len(np.unique(labels)) < 2:
        raise ValueError('the labelled patches to learn from have one class alone; give more images or other labels')
    figures: List[float] = []
    for model in (make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
                  KNeighborsClassifier(min(20, len(labels)), metric='cosine')):
        found = model.fit(features, labels).predict(others)
        present = np.isin(answers, labels)  # a class without training patches cannot be learned
        figures += [100 * accuracy_score(answers, found),
                    100 * balanced_accuracy_score(answers[present], found[present])]
    return figures


def _measure_features(model: nn.Module, pairs: Sequence[_Pair], train: Sequence[_Pair], max_side: int) -> np.ndarray:
    """Measures ``pairs``, with probes where there are others to learn from; returns figures, (blocks, measures)."""
    measured: List[List[List[float]]] = []  # by image and block
    labelled = []  # for ``train`` and ``pairs``, for each block: features and labels of all their images
    for part in (train, pairs):
        random = np.random.default_rng(0)
        patches = []  # for each image and block: features (n, C) and labels (n,)
        for image, label_map in part:
            picture = swap_colours(shrink(load_image(image, model), max_side))
            maps = collect(model, prepare_image(model, picture))
            if train:
                known = read_labels(label_map, picture.shape[:2])
                patches.append(_draw_patches(maps, known, random, max(1, _MOST_PATCHES // len(part))))
            if part is pairs:
                measured.append([_measure(block) for block in maps.blocks])
        if train:
            labelled.append([[np.concatenate(arrays) for arrays in zip(*images)] for images in zip(*patches)])
    figures = np.mean(measured, axis=0)
    if train:
        probed = [_probe(*learned, *tested) for learned, tested in zip(*labelled)]
        figures = np.concatenate([figures, probed], axis=1)
    return figures


def _draw_patches(maps: Maps, labels: np.ndarray, random: np.random.Generator,
                  most: int) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Draws labelled patches of an image; returns their features (n, C) and labels (n,) for each block.

    The draw depends on labels alone, so it is the same for all models, and for all blocks of one grid.
    """
    drawn: Dict[Tuple[int, int], Tuple[np.ndarray, np.ndarray]] = {}
    for block in maps.blocks:
        if block.grid not in drawn:
            known = _patch_labels(labels, block)
            chosen = random.permutation(np.flatnonzero(known != _IGNORED))[:most]
            drawn[block.grid] = chosen, known[chosen]
    return [(block.tokens[block.num_prefix_tokens:].float().cpu().numpy()[chosen], found)
            for block, (chosen, found) in ((block, drawn[block.grid]) for block in maps.blocks)]


def _over_seeds(models: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation over the models of a title, (blocks, measures) each."""
    return models.mean(0), models.std(0, ddof=1) if len(models) > 1 else np.zeros(models.shape[1:])


def _print_rows(table: Table, kind: str, models: np.ndarray, measures: Sequence[_Measure]) -> None:
    """Prints the rows of a title, one for each block, with the spread where it has several models."""
    widths = [max(len(kind), 12), 5, *(15 if len(models) > 1 else 7 for _ in measures)]
    for block, figures in enumerate(zip(*_over_seeds(models)), 1):
        table.print_row(kind, block, *(f'{mean:.{measure.digits}f}' +
                                       (f' ± {spread:.{measure.digits}f}' if len(models) > 1 else '')
                                       for measure, mean, spread in zip(measures, *figures)), widths=widths)


def _draw(results: _Results, measures: Sequence[_Measure], path: Path, heading: str) -> None:
    """Draws measures against the block, a line for each title, with bands of one standard deviation."""
    drawn = [index for index, measure in enumerate(measures) if measure.panel]
    figure = new_page(3.7 * len(drawn) / 2, 6.9, heading)
    panels = figure.subplots(2, len(drawn) // 2).flat
    for panel, index in zip(panels, drawn):
        for (kind, models), colour, marker in zip(results.items(), cycle(LINES), cycle(MARKERS)):
            mean, spread = _over_seeds(models[..., index])
            draw_band(panel, range(1, len(mean) + 1), mean, spread, colour, marker=marker,
                      label=kind + (f', mean of {len(models)}' if len(models) > 1 else ''))
        panel.set(title=measures[index].panel, xlabel='block', ylabel=measures[index].unit)
        panel.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside lower center', ncol=3, frameon=False)
    save(figure, path)


def _find_pairs(images: Path, masks: Optional[str], most: int) -> List[_Pair]:
    """Lists a folder's images with their label maps: same name, suffix .png; no more than ``most``, evenly spaced."""
    found = sorted(path for path in images.glob('*') if path.suffix.lower() in IMAGES)
    if not found:
        raise FileNotFoundError(f'{images} is no folder with images ({", ".join(IMAGES)})')
    if len(found) > most:
        found = [found[i] for i in np.linspace(0, len(found) - 1, most).round().astype(int)]
    pairs = [(path, Path(masks, f'{path.stem}.png') if masks else None) for path in found]
    missing = [label for _, label in pairs if label and not label.is_file()]
    if missing:
        raise FileNotFoundError(f'{len(missing)} of {len(pairs)} images in {images} have no label map, such as '
                                f'{missing[0]}; label maps have the names of the images and end in .png')
    return pairs


def _image_sets(args: argparse.Namespace) -> Tuple[List[_Pair], List[_Pair], str]:
    """Returns images to measure on, others for probes to learn from, if there are labels, and what to call them."""
    if args.images is None:
        if args.masks:
            raise ValueError('--masks belongs to a folder of images; give it first')
        scenes = [DigitScenesSegmentation(split, args.data_root, lazy_init=True) for split in ('test', 'train')]
        pairs, train = (_find_pairs(Path(split.data_prefix['img_path']), split.data_prefix['seg_map_path'],
                                    args.max_images) for split in scenes)
        return pairs, train, f'DigitScenes, {len(pairs)} test scenes; probes learn from {len(train)} training scenes'
    pairs, name = _find_pairs(Path(args.images), args.masks, args.max_images), Path(args.images).name
    if not args.masks:
        return pairs, [], f'{name}, {len(pairs)} images, no labels'
    if len(pairs) < 2:
        raise ValueError(f'{args.images} has one image; probes learn from some and are tested on others')
    return pairs[1::2], pairs[::2], f'{name}: probes learn from every second of {len(pairs)} images, measured on others'


def _key(model: nn.Module, pairs: Sequence[_Pair], train: Sequence[_Pair], side: int) -> Dict[str, Any]:
    """Returns what the figures of a model depend on, for ``KeptRows``."""
    weights = hashlib.sha256()
    for value in model.state_dict().values():
        weights.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    images = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime]
              for pair in (*pairs, *train) for path in pair if path]
    return dict(config=hashlib.sha256(repr(model.cfg.to_dict()).encode()).hexdigest(), weights=weights.hexdigest(),
                images=hashlib.sha256(json.dumps(images).encode()).hexdigest(), probes=len(train), side=side)


def features_job(args: argparse.Namespace, models: Sequence[ModelFiles]) -> Callable[[], None]:
    """Finds images and loads models; errors in them are raised here, before the first measurement.

    Args:
        args: The arguments of the tool.
        models: The models to measure; those of one title are averaged.

    Returns:
        A function that measures, prints the table and writes the files.

    Raises:
        FileNotFoundError: An image, label map, config or checkpoint does not exist.
        ValueError: One of them cannot be read.
        RuntimeError: A checkpoint is of another model.
        TypeError: A model has no ViT.
    """
    out = check_folder('--out', args.out)
    pairs, train, where = _image_sets(args)
    loaded = [load_model(files.config, files.checkpoint, args.device, trust_pickle=args.trust_pickle)
              for files in models]
    sides = [args.max_side or largest_side(model) for model in loaded]
    titles = [files.title for files in models]

    def measure() -> None:
        results: _Results = {}
        images = f'{len(pairs) + len(train)} images{", and probes of every block" if train else ""}'
        measures = _UNLABELLED + (_PROBES if train else [])
        table = Table(['model', 'block', *(measure.column for measure in measures)], where, words=2)
        jobs = [(files.title, model, side, _key(model, pairs, train, side))
                for files, model, side in zip(models, loaded, sides)]
        jobs.sort(key=lambda job: titles.index(job[0]))  # those of one title one after another: then its rows are done
        with KeptRows(out / 'features.unfinished.json', args.device, '--out') as kept:
            for title, model, side, key in with_progress(jobs, lambda job: f'{job[0]}: {images}',
                                                         lambda job: job[-1] in kept):
                figures = np.array(kept.call(key, lambda model=model, side=side: _measure_features(
                    model, pairs, train, side).tolist()))
                known = results.get(title, np.empty((0, *figures.shape)))
                results[title] = np.concatenate([known, figures[None]])
                if len(results[title]) == titles.count(title):
                    _print_rows(table, title, results[title], measures)
            _draw(results, measures, out / 'features.png', f'Frozen features: {where}')
            table.write(out / 'features.md')
        print(f'Wrote features.md and features.png to {out}')

    return measure
