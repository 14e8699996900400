"""Draws summary.png: scenes, ground truth and both predictions side by side."""

from __future__ import annotations

from pathlib import Path
from typing import List, Tuple

import numpy as np
from PIL import Image

from mmlocat.utils import atomic_write


def draw_summary(path: Path, dataset, predictions: List[Tuple[str, Path]], count: int = 8) -> None:
    """Draws the first scenes of a split with labels and predictions.

    The first scenes are taken, not chosen: the picture shows what is usual.

    Args:
        path: The PNG to write.
        dataset: A split of ``DigitScenesSegmentation``.
        predictions: Row titles and folders of predicted label maps.
        count: How many scenes.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    palette = np.asarray(dataset.metainfo['palette'], np.uint8)
    titles = ['Scene', 'Ground truth', *(title for title, _ in predictions)]
    figure, axes = pyplot.subplots(
        len(titles), count, figsize=(1.25 * count + 1.6, 1.35 * len(titles) + 0.9), squeeze=False)
    for column in range(count):
        info = dataset.get_data_info(column)
        name = f'{Path(info["img_path"]).stem}.png'
        maps = [info['seg_map_path'], *(folder / name for _, folder in predictions)]
        pictures = [np.asarray(Image.open(info['img_path']))]
        pictures += [palette[np.asarray(Image.open(file))] for file in maps]
        for row, picture in enumerate(pictures):
            axes[row, column].imshow(picture, interpolation='nearest')
            axes[row, column].set(xticks=[], yticks=[])
    for row, title in enumerate(titles):
        axes[row, 0].set_ylabel(title, rotation=0, ha='right', va='center', fontsize=11, labelpad=8)
    names = dataset.metainfo['classes']
    handles = [Patch(facecolor=colour / 255, edgecolor='0.5', label=name) for name, colour in zip(names, palette)]
    figure.legend(handles=handles, ncol=6, loc='lower center', frameon=False, fontsize=10)
    figure.suptitle(f'DigitScenes, the first {count} scenes of the test split, {dataset_side(dataset)} px', fontsize=12)
    figure.tight_layout(rect=(0, 0.6 / figure.get_figheight(), 1, 1))
    with atomic_write(path, 'wb') as file:
        figure.savefig(file, format='png', dpi=110)
    pyplot.close(figure)


def dataset_side(dataset) -> str:
    """Returns the size of the first scene as text."""
    width, height = Image.open(dataset.get_data_info(0)['img_path']).size
    return f'{width} x {height}'
