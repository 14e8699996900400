"""A picture beside the segmentations that models make of it, with a legend; drawn by Pillow, quick enough for video."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Size = Tuple[int, int]  # width and height in px, as Pillow has them

_MARGIN = 16
_TEXT = 16  # px
_LINE = 24
_SWATCH = 16
_MOST_CLASSES = 24  # in a legend; of longer lists those that cover most of the picture are named
_LONG_SIDE = (320, 768)  # px of a panel


@dataclass(frozen=True)
class Prediction:
    """What one model makes of a picture.

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


@lru_cache(maxsize=None)
def font(size: int = _TEXT) -> ImageFont.FreeTypeFont:
    """Returns the typeface of all text.

    Args:
        size: In px.
    """
    import matplotlib  # brings a font that is the same everywhere
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / 'DejaVuSans.ttf'), size)


def _width(text: str) -> int:
    return round(font().getlength(text))


def fit_text(text: str, width: int) -> str:
    """Shortens text in its middle until it is at most ``width`` px wide.

    Args:
        text: One line.
        width: In px.
    """
    if _width(text) <= width:
        return text
    for keep in range(len(text) - 1, 1, -1):
        short = f'{text[:(keep + 1) // 2]}…{text[len(text) - keep // 2:]}'
        if _width(short) <= width:
            return short
    return '…'


def panel_size(width: int, height: int) -> Size:
    """Returns the size at which a picture is shown: small ones enlarged by whole numbers, large ones reduced."""
    least, most = _LONG_SIDE
    side = max(width, height)
    scale = -(-least // side) if side < least else min(1.0, most / side)
    return max(1, round(width * scale)), max(1, round(height * scale))


def paint(image: np.ndarray, prediction: Prediction, opacity: float = 0.6) -> np.ndarray:
    """Colours a picture by class and outlines the segments; below colours it turns grey, so that hues are the classes'.

    Args:
        image: RGB, shape (H, W, 3), uint8.
        prediction: Labels outside the list of classes (such as 255, ignored) stay uncoloured.
        opacity: Of the colours, from 0 (the picture alone) to 1.

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
    outline = np.zeros(labels.shape, bool)
    outline[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    outline[1:] |= labels[1:] != labels[:-1]
    if opacity > 0:
        painted[outline] = 255
    return painted.round().astype(np.uint8)


def named_classes(predictions: Sequence[Prediction]) -> Tuple[List[int], str]:
    """Returns which classes a legend names, and a remark on those it leaves out.

    Args:
        predictions: Of models with the same classes.

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
    column = min(width, _SWATCH + 8 + max(_width(name) for name in classes) + 20)
    columns = max(1, width // column)
    slots = min(len(classes), _MOST_CLASSES) if fixed else max(1, len(shown))
    rows = -(-slots // columns)
    has_remark = bool(remark) or (fixed and len(classes) > _MOST_CLASSES)
    picture = Image.new('RGB', (width, (rows + has_remark) * _LINE), 'white')
    draw = ImageDraw.Draw(picture)
    for slot, index in enumerate(shown):
        x, y = slot % columns * column, slot // columns * _LINE
        colour = tuple(map(int, palette[index]))
        draw.rectangle((x, y + 2, x + _SWATCH, y + 2 + _SWATCH), fill=colour, outline='#555555')
        draw.text((x + _SWATCH + 8, y), fit_text(classes[index], column - _SWATCH - 12), fill='black', font=font())
    if remark:
        draw.text((0, rows * _LINE), fit_text(remark, width), fill='black', font=font())
    return picture


def compose(image: np.ndarray, predictions: Sequence[Prediction], caption: str = '', opacity: float = 0.6,
            fixed_legend: bool = False) -> np.ndarray:
    """Puts a picture, what each model makes of it, and the legend on one sheet.

    Args:
        image: RGB, shape (H, W, 3), uint8.
        predictions: One a model; models with other classes than the first get legends of their own.
        caption: A line above all.
        opacity: See ``paint``.
        fixed_legend: Whether the sheet's size must not depend on which classes occur, as in a video.

    Returns:
        RGB, uint8; height and width are even, as video codecs want them.
    """
    width, height = panel_size(image.shape[1], image.shape[0])
    resample = Image.Resampling.NEAREST if width > image.shape[1] else Image.Resampling.LANCZOS
    shown = np.asarray(Image.fromarray(image).resize((width, height), resample))
    panels = [('Picture', shown), *((p.title, paint(shown, p, opacity)) for p in predictions)]
    total = _MARGIN + len(panels) * (width + _MARGIN)

    groups: List[List[Prediction]] = []
    for prediction in predictions:
        key = (list(prediction.classes), np.asarray(prediction.palette).tolist())
        for group in groups:
            if key == (list(group[0].classes), np.asarray(group[0].palette).tolist()):
                group.append(prediction)
                break
        else:
            groups.append([prediction])
    legends = [_legend(group, total - 2 * _MARGIN, fixed_legend) for group in groups]

    top = _MARGIN + (_LINE if caption else 0)
    tall = top + _LINE + height + sum(_MARGIN + legend.height + _LINE * (len(groups) > 1) for legend in legends)
    sheet = Image.new('RGB', (total + total % 2, tall + _MARGIN + (tall + _MARGIN) % 2), 'white')
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 4), fit_text(caption, total - 2 * _MARGIN), fill='black', font=font())
    for column, (title, panel) in enumerate(panels):
        x = _MARGIN + column * (width + _MARGIN)
        draw.text((x, top - 2), fit_text(title, width), fill='black', font=font())
        sheet.paste(Image.fromarray(panel), (x, top + _LINE))
    y = top + _LINE + height
    for group, legend in zip(groups, legends):
        y += _MARGIN
        if len(groups) > 1:
            draw.text((_MARGIN, y), f'Classes of {group[0].title}', fill='black', font=font())
            y += _LINE
        sheet.paste(legend, (_MARGIN, y))
        y += legend.height
    return np.asarray(sheet)
