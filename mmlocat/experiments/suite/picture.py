"""Draws summary.png: scenes, ground truth and predictions side by side."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np
from mmengine.registry import init_default_scope
from mmseg.apis import inference_model
from mmseg.registry import DATASETS
from PIL import Image

from mmlocat.models.building import load_model
from mmlocat.utils import staged

from .plan import Trial


def draw_trials(path: Path, trials: Sequence[Trial], count: int = 8) -> None:
    """Draws what trained segmentors make of the first scenes of their test split.

    Args:
        path: The PNG to write.
        trials: Of the same data set; their trainings are done.
        count: How many scenes.
    """
    init_default_scope('mmseg')
    dataset = DATASETS.build(trials[0].config.test_dataloader.dataset)
    images = [dataset.get_data_info(index)['img_path'] for index in range(min(count, len(dataset)))]
    predictions = []
    for trial in trials:
        model = load_model(deepcopy(trial.config), trial.train.folder / trial.train.product)
        maps = [sample.pred_sem_seg.data[0].numpy() for sample in inference_model(model, images)]
        predictions.append((trial.row.title, maps))
    draw_summary(path, dataset, predictions)


def draw_summary(path: Path, dataset, predictions: Sequence[Tuple[str, List[np.ndarray]]]) -> None:
    """Draws the first scenes of a split with labels and predictions.

    The first scenes are taken, not chosen: the picture shows what is usual.

    Args:
        path: The PNG to write.
        dataset: A split of ``DigitScenesSegmentation``.
        predictions: Row titles, and label maps of the first scenes, shape (height, width) each.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    count = len(predictions[0][1])
    palette = np.asarray(dataset.metainfo['palette'], np.uint8)
    scenes = [dataset.get_data_info(column) for column in range(count)]
    images = [np.asarray(Image.open(scene['img_path'])) for scene in scenes]
    labels = [np.asarray(Image.open(scene['seg_map_path'])) for scene in scenes]
    rows = [('Scene', images), *((title, [palette[labels] for labels in maps])
                                 for title, maps in [('Ground truth', labels), *predictions])]
    figure, axes = pyplot.subplots(
        len(rows), count, figsize=(1.25 * count + 1.6, 1.35 * len(rows) + 0.9), squeeze=False)
    for own, (title, pictures) in zip(axes, rows):
        own[0].set_ylabel(title, rotation=0, ha='right', va='center', fontsize=11, labelpad=8)
        for axis, picture in zip(own, pictures):
            axis.imshow(picture, interpolation='nearest')
            axis.set(xticks=[], yticks=[])
    names = dataset.metainfo['classes']
    handles = [Patch(facecolor=colour / 255, edgecolor='0.5', label=name) for name, colour in zip(names, palette)]
    figure.legend(handles=handles, ncol=6, loc='lower center', frameon=False, fontsize=10)
    height, width = images[0].shape[:2]
    figure.suptitle(f'DigitScenes, the first {count} scenes of the test split, {width} x {height} px', fontsize=12)
    figure.tight_layout(rect=(0, 0.6 / figure.get_figheight(), 1, 1))
    with staged(path) as place:
        figure.savefig(place, dpi=110)
    pyplot.close(figure)
