"""Puts a picture beside its segmentations by one or more models, with a legend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

import numpy as np
from PIL import Image

from .picture_layout import LINE, SWATCH, below, beside, swatch, text_width, write

Size = Tuple[int, int]  # width and height in px, as Pillow has them

_MARGIN = 16  # px
_MOST_CLASSES = 24  # in a legend; of more classes, those that cover most of the picture are named
_LONG_SIDE = (320, 768)  # px of a panel


@dataclass(frozen=True)
class Prediction:
    """One model's segmentation of a picture.

    Args:
        title: The model's name, above its panel.
        labels: Class of each pixel, shape (H, W), of any size: it is stretched over the picture.
        classes: Names of all classes.
        palette: Colours of all classes, RGB from 0 to 255.
    """

    title: str
    labels: np.ndarray
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]


def panel_size(width: int, height: int) -> Size:
    """Returns the size at which a picture is shown: small ones enlarged by whole numbers, large ones reduced."""
    least, most = _LONG_SIDE
    side = max(width, height)
    scale = -(-least // side) if side < least else min(1.0, most / side)
    return max(1, round(width * scale)), max(1, round(height * scale))


def paint(image: np.ndarray, prediction: Prediction, opacity: float = 0.6) -> np.ndarray:
    """Colours a picture by class and outlines segments; coloured pixels are first made grey, so hues show classes only.

    Args:
        image: RGB, shape (H, W, 3), uint8.
        prediction: Labels outside the list of classes (such as 255, ignored) stay uncoloured.
        opacity: Opacity of the colours, from 0 (the picture alone) to 1.

    Returns:
        RGB, shape (H, W, 3), uint8.
    """
    height, width = image.shape[:2]
    labels = Image.fromarray(np.ascontiguousarray(prediction.labels, dtype=np.int32))
    labels = np.asarray(labels.resize((width, height), Image.Resampling.NEAREST))
    known = (labels >= 0) & (labels < len(prediction.classes))
    colours = np.asarray(prediction.palette, dtype=np.float32)[np.where(known, labels, 0)]
    weight = (opacity * known)[..., None].astype(np.float32)
    grey = (image @ np.float32([0.299, 0.587, 0.114]))[..., None]
    painted = np.where(weight > 0, grey * (1 - weight) + colours * weight, image)
    if opacity > 0:
        outline = np.zeros(labels.shape, bool)
        outline[:, 1:] |= labels[:, 1:] != labels[:, :-1]
        outline[1:] |= labels[1:] != labels[:-1]
        painted[outline] = 255
    return painted.round().astype(np.uint8)


def named_classes(predictions: Sequence[Prediction]) -> Tuple[List[int], str]:
    """Returns which classes a legend names, and a remark on those it leaves out.

    Args:
        predictions: Predictions of models with the same classes.

    Returns:
        Indices in the order of the list of classes, all of a short list; of a long one those that cover most. The
        remark is empty where nothing that occurs is left out.
    """
    count = len(predictions[0].classes)
    if count <= _MOST_CLASSES:
        return list(range(count)), ''
    areas = np.zeros(count)
    for prediction in predictions:
        labels = prediction.labels[(prediction.labels >= 0) & (prediction.labels < count)]
        areas += np.bincount(labels.ravel(), minlength=count)[:count] / max(1, prediction.labels.size)
    found = [int(index) for index in np.argsort(-areas, kind='stable') if areas[index] > 0]
    rest = areas[found[_MOST_CLASSES:]].sum() / len(predictions)
    remark = f'and {len(found) - _MOST_CLASSES} more classes on {rest:.1%} of the picture' if rest else ''
    return sorted(found[:_MOST_CLASSES]), remark


def _legend(predictions: Sequence[Prediction], width: int, fixed: bool) -> Image.Image:
    """Draws the legend of models with the same classes; ``fixed`` gives every frame of a video the same height."""
    classes, palette = predictions[0].classes, predictions[0].palette
    shown, remark = named_classes(predictions)
    column = min(width, SWATCH + 8 + max(text_width(name) for name in classes) + 20)
    cells = [beside([swatch(tuple(map(int, palette[index]))), write(classes[index], column - SWATCH - 8)])
             for index in shown]
    slots = min(len(classes), _MOST_CLASSES) if fixed else max(1, len(cells))
    cells += [Image.new('RGB', (column, LINE), 'white')] * (slots - len(cells))
    columns = max(1, width // column)
    rows = [beside(cells[first:first + columns]) for first in range(0, slots, columns)]
    if remark or (fixed and len(classes) > _MOST_CLASSES):
        rows.append(write(remark, width))
    return below(rows)


def compose(image: np.ndarray, predictions: Sequence[Prediction], caption: str = '', opacity: float = 0.6,
            fixed_legend: bool = False) -> np.ndarray:
    """Puts a picture, each model's segmentation of it, and the legend on one sheet.

    Args:
        image: RGB, shape (H, W, 3), uint8.
        predictions: One for each model; models with other classes than the first get their own legends.
        caption: A line at the top.
        opacity: See ``paint``.
        fixed_legend: Whether the sheet's size must not depend on which classes occur, as in a video.

    Returns:
        RGB, uint8; height and width are even, as video codecs want them.
    """
    width, height = panel_size(image.shape[1], image.shape[0])
    resample = Image.Resampling.NEAREST if width > image.shape[1] else Image.Resampling.LANCZOS
    shown = np.asarray(Image.fromarray(image).resize((width, height), resample))
    panels = [('Picture', shown), *((p.title, paint(shown, p, opacity)) for p in predictions)]
    sheet = beside([below([write(title, width), Image.fromarray(panel)]) for title, panel in panels], _MARGIN)

    groups: Dict[str, List[Prediction]] = {}
    for prediction in predictions:
        key = str((list(prediction.classes), np.asarray(prediction.palette).tolist()))
        groups.setdefault(key, []).append(prediction)
    for group in groups.values():
        legend = _legend(group, sheet.width, fixed_legend)
        if len(groups) > 1:
            legend = below([write(f'Classes of {group[0].title}', sheet.width), legend])
        sheet = below([sheet, legend], _MARGIN)
    if caption:
        sheet = below([write(caption, sheet.width), sheet])

    width, height = sheet.width + 2 * _MARGIN, sheet.height + 2 * _MARGIN
    page = Image.new('RGB', (width + width % 2, height + height % 2), 'white')
    page.paste(sheet, (_MARGIN, _MARGIN))
    return np.asarray(page)
