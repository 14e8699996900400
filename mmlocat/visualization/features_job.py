"""What ``tools/analysis/features.py`` does: models, images and labels in; figure, table and CSV out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Callable, List, NamedTuple, Tuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmlocat.datasets.digit_scenes import DigitScenesSegmentation
from mmlocat.visualization.demo_models import demo_model

from .features import IGNORED, Pair, find_pairs, measure_features
from .features_output import Results, draw, print_results, write_csv
from .loading import load_model, read_labels


class Contender(NamedTuple):
    """A model to measure; those of one title are averaged."""

    title: str
    config: str
    checkpoint: str


def contenders(args: argparse.Namespace) -> List[Contender]:
    """Returns the models asked for; the demo's ViT and LocAtViT without any.

    Raises:
        FileNotFoundError: The demo has not trained them.
    """
    if args.model:
        return [Contender(*model) for model in args.model]
    found = [demo_model(arm, 'pretrain', args.demo_dir, seed) for arm in ('vit', 'locatvit') for seed in args.seeds]
    return [Contender(model.title, str(model.config), str(model.checkpoint)) for model in found]


def image_sets(args: argparse.Namespace) -> Tuple[List[Pair], List[Pair], str]:
    """Returns images to measure on, images for the probes to learn from, and what to call them.

    Without a folder: DigitScenes' test scenes and training scenes. With labels and no images to learn from: every
    second image is learned from, the others are measured on. Without labels: none to learn from.

    Raises:
        FileNotFoundError: A folder or a label map is not there.
        ValueError: Options contradict each other, or there are too few images.
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


def features_job(args: argparse.Namespace) -> Callable[[], None]:
    """Finds models and images; what can be wrong with them is found before the first is measured, one model loaded.

    Args:
        args: Those of the tool.

    Returns:
        A function that measures, prints and writes.

    Raises:
        FileNotFoundError: Something is not there.
        ValueError: Something cannot be read.
        RuntimeError: A checkpoint is of another model.
    """
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f'--out {out} is a file; it names a folder')
    models = contenders(args)
    pairs, train, where = image_sets(args)
    loaded = [load_model(model.config, model.checkpoint, args.device, args.trust_pickle) for model in models]

    def measure() -> None:
        results: Results = {}
        console = Console(stderr=True)
        blocks = sum(len(model.backbone.layers) for model in loaded) if train else 0
        with Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                      console=console, disable=not console.is_terminal) as progress:
            tasks = {'image': progress.add_task('Images', total=len(models) * (len(pairs) + len(train))),
                     'block': progress.add_task('Probes, by block', total=blocks, visible=bool(blocks))}
            for contender, model in zip(models, loaded):
                rows = measure_features(model, pairs, train, args.max_side or 0, args.max_patches, args.seed,
                                        lambda what: progress.advance(tasks[what]))
                results.setdefault(contender.title, []).append(rows)
        write_csv(results, out / 'features.csv')
        draw(results, out / 'features.png', f'Frozen features: {where}', _chance(pairs) if train else None)
        print_results(results, where, args.markdown)
        print(f'Wrote features.csv and features.png to {out}')

    return measure


def _chance(pairs: List[Pair]) -> float:
    """Returns what a guess gets right of the average class, in percent."""
    classes = set().union(*(np.unique(read_labels(pair.labels)).tolist() for pair in pairs)) - {IGNORED}
    return 100 / len(classes)
