"""Runs ``tools/analysis/features.py``: measures models' features on images and writes figure, table and CSV."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from mmlocat.datasets.digit_scenes import DigitScenesSegmentation
from mmlocat.models.building import load_model
from mmlocat.utils import atomic_write, with_progress
from mmlocat.utils.tables import Table

from .arguments import ModelFiles, output_folder
from .features import IGNORED, MEASURES, BlockFeatures, Pair, find_pairs, measure_features
from .sources import read_labels
from .style import LINES, MARKERS, draw_band, new_page, save, share_legend

Results = Dict[str, List[List[BlockFeatures]]]  # by title; models of one title are seeds of one kind


def _over_seeds(models: List[List[BlockFeatures]], name: str) -> Optional[Tuple[np.ndarray, np.ndarray]]:
    """Returns mean and standard deviation, (blocks,) each, over the models of a title; None if it was not measured."""
    values = np.array([[row[name] for row in rows] for rows in models], dtype=float)
    if np.isnan(values).any():
        return None
    return values.mean(0), values.std(0, ddof=1) if len(models) > 1 else np.zeros(values.shape[1])


def _measured(results: Results) -> List[str]:
    return [name for name in MEASURES if any(_over_seeds(models, name) for models in results.values())]


def _table(results: Results, title: str) -> Table:
    """Returns a table with a row for each title and block, with the spread where a title has several models."""
    names = _measured(results)
    table = Table(['model', 'block', *(MEASURES[name].column for name in names)], title, words=2)
    for kind, models in results.items():
        figures = [_over_seeds(models, name) for name in names]
        for block in range(len(models[0])):
            cells = ['' if figure is None else f'{figure[0][block]:.{MEASURES[name].digits}f}' +
                     (f' ± {figure[1][block]:.{MEASURES[name].digits}f}' if len(models) > 1 else '')
                     for name, figure in zip(names, figures)]
            table.add(kind, block + 1, *cells)
    return table


def _write_csv(results: Results, path: Path) -> None:
    """Writes every figure of every model, not rounded; blank where it was not measured."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['model', 'number', 'block', *MEASURES])
        for title, models in results.items():
            for number, rows in enumerate(models, 1):
                for block, row in enumerate(rows, 1):
                    writer.writerow([title, number, block, *row.values()])


def draw(results: Results, path: Path, heading: str, chance: Optional[float] = None) -> None:
    """Draws every measure against the block, a line for each title, with bands of one standard deviation.

    Args:
        results: What was measured.
        path: PNG or PDF.
        heading: The data that were measured on.
        chance: Accuracy of guessing, in percent, drawn into the probes' panels.
    """
    names = [name for name in _measured(results) if MEASURES[name].panel]
    columns = 3 if len(names) > 4 else 2
    rows = -(-len(names) // columns)
    figure = new_page(3.7 * columns, 3.0 * rows + 0.9, heading)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    handles: Sequence = []
    for panel, name in zip(panels, names):
        for number, (kind, models) in enumerate(results.items()):
            figures = _over_seeds(models, name)
            if figures is not None:
                draw_band(panel, range(1, len(models[0]) + 1), *figures, LINES[number % len(LINES)],
                          marker=MARKERS[number % len(MARKERS)],
                          label=kind + (f', mean of {len(models)}' if len(models) > 1 else ''))
        if chance is not None and name.endswith('by_class'):
            panel.axhline(chance, color='0.4', linestyle=':', label='chance')
        most = max(len(rows) for models in results.values() for rows in models)
        panel.set(title=MEASURES[name].panel, xlabel='block', ylabel=MEASURES[name].unit, xticks=range(1, most + 1))
        panel.grid(True, alpha=0.3)
        handles = max(handles, panel.get_legend_handles_labels()[0], key=len)
    for panel in panels:  # those without a measure
        panel.set_visible(False)
    share_legend(figure, handles, 3)
    save(figure, path, dpi=130)


def _image_sets(args: argparse.Namespace) -> Tuple[List[Pair], List[Pair], str]:
    """Returns images to measure on, images for the probes to learn from, and what to call them.

    Without a folder: DigitScenes' test scenes and training scenes. With labels and no images to learn from: every
    second image is learned from, the others are measured on. Without labels: none to learn from.
    """
    if args.images is None:
        if args.masks or args.train_images or args.train_masks:
            raise ValueError('--masks, --train-images and --train-masks belong to a folder of images; give it first')
        scenes = [DigitScenesSegmentation(split, args.data_root, lazy_init=True) for split in ('test', 'train')]
        pairs, train = (find_pairs(Path(split.data_prefix['img_path']), Path(split.data_prefix['seg_map_path']),
                                   args.max_images) for split in scenes)
        return pairs, train, f'DigitScenes, {len(pairs)} test scenes; probes learn from {len(train)} training scenes'
    if bool(args.train_images) != bool(args.train_masks) or (args.train_images and not args.masks):
        raise ValueError('--train-images, --train-masks and --masks belong together: give all three, or --masks alone')
    pairs = find_pairs(Path(args.images), Path(args.masks) if args.masks else None, args.max_images)
    name = Path(args.images).name
    if not args.masks:
        return pairs, [], f'{name}, {len(pairs)} images, no labels'
    if args.train_images:
        train = find_pairs(Path(args.train_images), Path(args.train_masks), args.max_images)
        return pairs, train, f'{name}, {len(pairs)} images; probes learn from {len(train)} others'
    if len(pairs) < 2:
        raise ValueError(f'{args.images} has one image; probes learn from some and are tested on others')
    train, pairs = pairs[::2], pairs[1::2]
    return pairs, train, f'{name}, {len(pairs)} images; probes learn from {len(train)} others of that folder'


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
    """
    out = output_folder('--out', args.out)
    pairs, train, where = _image_sets(args)
    loaded = [load_model(files.config, files.checkpoint, args.device, trust_pickle=args.trust_pickle)
              for files in models]

    def measure() -> None:
        results: Results = {}
        images = f'{len(pairs) + len(train)} images{", and probes of every block" if train else ""}'
        for files, model in with_progress(list(zip(models, loaded)), lambda pair: f'{pair[0].title}: {images}'):
            rows = measure_features(model, pairs, train, args.max_side or 0, args.max_patches, args.seed)
            results.setdefault(files.title, []).append(rows)
        _write_csv(results, out / 'features.csv')
        draw(results, out / 'features.png', f'Frozen features: {where}', _chance(pairs) if train else None)
        _table(results, where).print(args.markdown)
        print(f'Wrote features.csv and features.png to {out}')

    return measure


def _chance(pairs: List[Pair]) -> float:
    """Returns the accuracy of guessing, in percent, averaged over classes."""
    classes = set().union(*(np.unique(read_labels(pair.labels)).tolist() for pair in pairs)) - {IGNORED}
    return 100 / len(classes)
