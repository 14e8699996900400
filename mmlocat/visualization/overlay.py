"""Puts a picture beside its segmentations by one or more models, with legends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from textwrap import shorten
from typing import List, Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

_MOST_CLASSES, _COLUMNS = 24, 3  # in a legend; of more classes, those that cover most of the picture are named
_LETTERS = 48  # of a class's name beside its bar; ImageNet's name some classes by many synonyms
_SIDE, _TITLE, _ROW, _DPI = 4.0, 0.6, 0.2, 100  # inches: longer side of a panel, above it, a row of a legend


@dataclass(frozen=True)
class Prediction:
    """One model's segmentation of a picture.

    Args:
        title: The model's name, above its panel.
        labels: Class of each pixel, shape (H, W), of any size: it is stretched over the picture. Labels outside the
            list of classes (such as 255, ignored) stay uncoloured.
        classes: Names of all classes.
        palette: Colours of all classes, RGB from 0 to 255.
    """

    title: str
    labels: np.ndarray
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]


def compose(image: np.ndarray, predictions: Sequence[Prediction], caption: str = '') -> np.ndarray:
    """Puts a picture and each model's segmentation of it side by side, with a legend below each.

    A legend gives the share of the area before the name of each class that was found.

    Args:
        image: RGB, shape (H, W, 3), uint8.
        predictions: One for each model.
        caption: A line at the top.

    Returns:
        RGB, uint8. The size depends on the picture's shape and the numbers of models and classes alone, as frames of a
        video need it; height and width are even, as video codecs want them.
    """
    height, width = (_SIDE * side / max(image.shape[:2]) for side in image.shape[:2])
    count, width = 1 + len(predictions), max(width, _SIDE / 2)
    rows = max(math.ceil(min(_MOST_CLASSES, len(prediction.classes)) / _COLUMNS) for prediction in predictions)
    below = 0.2 + rows * _ROW
    total = round(below + height + _TITLE, 1)
    figure = Figure(figsize=(round(count * width, 1), total), dpi=_DPI)
    figure.suptitle(caption, fontsize=9)
    for number, prediction in enumerate([None, *predictions]):
        axes = figure.add_axes(((number + 0.02) / count, below / total, 0.96 / count, height / total))
        axes.set_axis_off()
        # Grey below a segmentation, so that hues show classes only.
        shown = axes.imshow(image if prediction is None else image.mean(axis=2), cmap='gray', vmin=0, vmax=255)
        axes.set_title('Picture' if prediction is None else prediction.title, fontsize=9)
        if prediction is not None:
            colours = ListedColormap(np.divide(prediction.palette, 255))
            last = len(prediction.classes) - 1
            axes.imshow(np.ma.masked_outside(prediction.labels, 0, last), cmap=colours, vmin=-0.5, vmax=last + 0.5,
                        alpha=0.6, interpolation='nearest', extent=shown.get_extent())
            handles = [Patch(color=colours(index), label=_share_and_name(prediction, index))
                       for index in named_classes(prediction)]
            axes.legend(handles=handles, loc='upper center', bbox_to_anchor=(0.5, 0), ncol=_COLUMNS, fontsize=7,
                        frameon=False, columnspacing=1, handletextpad=0.4)
    return pixels_of(figure)


def compose_classes(image: np.ndarray, title: str, found: Mapping[str, float], caption: str = '') -> np.ndarray:
    """Puts a picture beside the classes that a classifier names, with a bar for how likely it holds each.

    Args:
        image: RGB, shape (H, W, 3), uint8.
        title: The model's name, above its panel.
        found: What the model gives each class, from 0 to 1, by name; best first.
        caption: A line at the top.

    Returns:
        RGB, uint8, of a size that depends on the picture's shape alone.
    """
    height, width = (_SIDE * side / max(image.shape[:2]) for side in image.shape[:2])
    height = max(height, _SIDE / 2)
    total = height + _TITLE
    figure = Figure(figsize=(width + _SIDE, total), dpi=_DPI)
    figure.suptitle(caption, fontsize=9)
    edge = width / (width + _SIDE)
    axes = figure.add_axes((0.02 * edge, 0, 0.96 * edge, height / total))
    axes.set_axis_off()
    axes.imshow(image)
    axes.set_title('Picture', fontsize=9)
    axes = figure.add_axes((edge, 0.05, 0.98 * (1 - edge), height / total - 0.05))
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
    places = range(len(found))
    axes.barh(places, list(found.values()), color='lightsteelblue')
    axes.set(xlim=(0, 1), ylim=(len(found) - 0.5, -0.5))
    for place, (name, value) in zip(places, found.items()):
        axes.text(0.02, place, f'{value:.1%}  {shorten(name, _LETTERS, placeholder=" ...")}', va='center', fontsize=9)
    return pixels_of(figure)


def named_classes(prediction: Prediction) -> List[int]:
    """Returns which classes a legend names: all of a short list; of a long one those that cover most."""
    count = len(prediction.classes)
    if count <= _MOST_CLASSES:
        return list(range(count))
    found, areas = np.unique(prediction.labels, return_counts=True)
    ordered = [int(index) for index in found[np.argsort(-areas)] if 0 <= index < count]
    return sorted(ordered[:_MOST_CLASSES])


def _share_and_name(prediction: Prediction, index: int) -> str:
    """Returns the share of the area that a class has, if any, and its name."""
    share = (prediction.labels == index).mean()
    text = '' if share == 0 else '<1% ' if share < 0.01 else f'{share:.0%} '
    return f'{text}{prediction.classes[index]}'


def pixels_of(figure: Figure) -> np.ndarray:
    """Draws a figure of matplotlib; returns its pixels, RGB, uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
