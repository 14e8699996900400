"""Draws what trained segmentors make of scenes of their test split, chosen by a rule that the picture states."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mmengine.registry import init_default_scope
from mmseg.apis import inference_model
from mmseg.registry import DATASETS as SPLITS
from PIL import Image
from torch import nn

from mmlocat.models.building import load_model
from mmlocat.utils import atomic_write
from mmlocat.visualization import collect, prepare_image
from mmlocat.visualization.attention_pages import draw_gaussian
from mmlocat.visualization.style import LINES

from .plan import Trial
from .rows import Suite

QUANTILES = (0.2, 0.4, 0.6, 0.8)
_BATCH = 50  # scenes that a model predicts at once


class Line(NamedTuple):
    """One line of a picture: its title, a picture (height, width, 3) of each scene, and what stands below each."""

    title: str
    pictures: List[np.ndarray]
    notes: Sequence[str] = ()


def draw_pairs(work_dir: Path, suite: Suite, trials: Sequence[Trial]) -> List[Path]:
    """Draws what the rows predict that a suite compares, with their first seed, by the rule that it names.

    Args:
        work_dir: Where summary.png goes; of several data sets, summary-DATASET.png.
        suite: The suite.
        trials: Its trials, all done.

    Returns:
        The pictures.
    """
    draw, paths = {'first': draw_trials, 'quantiles': draw_quantiles}[suite.picture], []
    for pair in suite.pairs:
        compared = [next(trial for trial in trials if trial.row.name == name) for name in pair]
        data = f'-{pair[0].split("/")[0]}' if len(suite.pairs) > 1 else ''
        paths.append(work_dir / f'summary{data}.png')
        draw(paths[-1], compared)
    return paths


def draw_trials(path: Path, trials: Sequence[Trial], count: int = 8) -> None:
    """Draws what trained segmentors make of the first scenes of their test split.

    The first scenes are taken, not chosen: the picture shows what is usual.

    Args:
        path: The PNG to write.
        trials: Of the same data set of scenes, such as ``DigitScenesSegmentation``; their trainings are done.
        count: How many scenes.
    """
    scenes = _Scenes(trials[0])
    numbers = range(min(count, len(scenes.records)))
    lines = scenes.truth(numbers, Line('Scene', scenes.images(numbers)))
    for trial in trials:
        lines.append(Line(trial.row.title, scenes.coloured(scenes.predicted(_load(trial), numbers))))
    scenes.draw(path, lines, f'the first {len(numbers)} scenes of the test split')


def draw_quantiles(path: Path, trials: Sequence[Trial]) -> None:
    """Draws what trained segmentors make of the scenes at 20, 40, 60 and 80 % of their order by the first one's mIoU.

    Below each label map stands the model's mIoU on that scene: the mean over the classes that it or the label holds. On
    the photograph lie the Gaussians, at one sigma, of the patch that holds most of the largest object, in each head of
    the block whose mean alpha is largest; of the last model that has any.

    Args:
        path: The PNG to write.
        trials: As of ``draw_trials``; the first one's scores choose the scenes.
    """
    scenes = _Scenes(trials[0])
    everything = range(len(scenes.records))
    models = {trial.row.title: _load(trial) for trial in trials}
    first = next(iter(models.values()))
    labels = scenes.labels(everything)
    scores = [mean_iou(*maps) for maps in zip(scenes.predicted(first, everything), labels)]
    numbers = [int(np.argsort(scores, kind='stable')[round(share * (len(scores) - 1))]) for share in QUANTILES]
    lines = scenes.truth(numbers, Line('Photograph', scenes.images(numbers)))
    for title, model in models.items():
        predicted = scenes.predicted(model, numbers)
        own = [100 * mean_iou(each, labels[number]) for each, number in zip(predicted, numbers)]
        lines.append(Line(title, scenes.coloured(predicted), [f'mIoU {value:.0f} %' for value in own]))
    gaussians = {column: found for column, number in enumerate(numbers)
                 for found in [_gaussians(models.values(), scenes.images([number])[0], labels[number])] if found}
    chosen = ', '.join(f'{100 * share:.0f}' for share in QUANTILES)
    scenes.draw(path, lines, f"test scenes at {chosen} % of their order by the {next(iter(models))}'s mIoU", gaussians)


def mean_iou(prediction: np.ndarray, label: np.ndarray) -> float:
    """Returns the mean IoU of the classes that one of two label maps holds, as a share of 1."""
    pairs = [(prediction == number, label == number) for number in np.union1d(prediction, label)]
    return float(np.mean([(one & other).sum() / (one | other).sum() for one, other in pairs]))


def query_patch(label: np.ndarray, grid: Tuple[int, int]) -> Tuple[int, int]:
    """Returns row and column of the patch, of a grid (H, W), that holds most of the largest object of a label map.

    Of several that hold as much it is the one nearest to their centre.
    """
    height, width = (size // count for size, count in zip(label.shape, grid))
    objects = np.bincount(label.ravel(), minlength=2)
    inside = (label == 1 + objects[1:].argmax())[:height * grid[0], :width * grid[1]]
    counts = inside.reshape(grid[0], height, grid[1], width).sum((1, 3))
    fullest = np.argwhere(counts == counts.max())
    row, column = fullest[((fullest - fullest.mean(0)) ** 2).sum(1).argmin()]
    return int(row), int(column)


def _gaussians(models, image: np.ndarray, label: np.ndarray) -> list:
    """Returns what ``draw_gaussian`` takes, for each head, of the last model with GAug; nothing if there is none."""
    for model in reversed(list(models)):
        blocks = [block for block in collect(model, prepare_image(model, image)).blocks if block.has_gaug]
        if blocks:
            block = max(blocks, key=lambda each: each.alpha.mean())
            patch = query_patch(label, block.grid)
            return [(block, head, patch, LINES[head % len(LINES)]) for head in range(block.num_heads)]
    return []


def _load(trial: Trial) -> nn.Module:
    return load_model(deepcopy(trial.config), trial.train.folder / trial.train.product)


class _Scenes:
    """The test scenes of a trial, and how pictures of them are laid out."""

    def __init__(self, trial: Trial) -> None:
        init_default_scope('mmseg')
        self.dataset = SPLITS.build(trial.config.test_dataloader.dataset)
        self.records = [self.dataset.get_data_info(index) for index in range(len(self.dataset))]
        self.palette = np.asarray(self.dataset.metainfo['palette'], np.uint8)

    def images(self, numbers: Sequence[int]) -> List[np.ndarray]:
        return [np.asarray(Image.open(self.records[number]['img_path']).convert('RGB')) for number in numbers]

    def labels(self, numbers: Sequence[int]) -> List[np.ndarray]:
        return [np.asarray(Image.open(self.records[number]['seg_map_path'])) for number in numbers]

    def truth(self, numbers: Sequence[int], scene: Line) -> List[Line]:
        return [scene, Line('Ground truth', self.coloured(self.labels(numbers)))]

    def coloured(self, maps: Sequence[np.ndarray]) -> List[np.ndarray]:
        return [self.palette[each] for each in maps]

    def predicted(self, model: nn.Module, numbers: Sequence[int]) -> List[np.ndarray]:
        paths = [self.records[number]['img_path'] for number in numbers]
        return [sample.pred_sem_seg.data[0].numpy() for start in range(0, len(paths), _BATCH)
                for sample in inference_model(model, paths[start:start + _BATCH])]

    def draw(self, path: Path, lines: Sequence[Line], rule: str,
             gaussians: Optional[Dict[int, list]] = None) -> None:
        """Draws a column for each scene, below the rule that chose them; ``gaussians`` lie on the first line."""
        height, width = lines[0].pictures[0].shape[:2]
        count = len(lines[0].pictures)
        side = min(2.5, max(1.25, 10 / count))  # inches; title and legend need the width of eight small scenes
        figure = Figure(figsize=(side * count + 1.6, (side + 0.1) * len(lines) + 0.9))
        for number, (own, line) in enumerate(zip(figure.subplots(len(lines), count, squeeze=False), lines)):
            own[0].set_ylabel(line.title, rotation=0, ha='right', va='center', fontsize=11, labelpad=8)
            for column, (axis, picture) in enumerate(zip(own, line.pictures)):
                axis.imshow(picture, interpolation='nearest', extent=(0, width, height, 0))
                axis.set(xticks=[], yticks=[], xlabel=line.notes[column] if line.notes else '')
                for block, head, patch, colour in (gaussians or {}).get(column, ()) if number == 0 else ():
                    draw_gaussian(axis, block, head, patch, colour)
        names = self.dataset.metainfo['classes']
        handles = [Patch(facecolor=colour / 255, edgecolor='0.5', label=name)
                   for name, colour in zip(names, self.palette)]
        figure.legend(handles=handles, ncol=6, loc='lower center', frameon=False, fontsize=10)
        figure.suptitle(f'{self.dataset.SPEC.NAME}, {rule}, {width} x {height} px', fontsize=12)
        figure.tight_layout(rect=(0, 0.6 / figure.get_figheight(), 1, 1))
        with atomic_write(path, 'wb') as file:
            figure.savefig(file, dpi=110)
