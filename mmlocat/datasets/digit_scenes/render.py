"""Draws one scene: handwritten digits over a crop of a photograph."""

from __future__ import annotations

import math
from typing import List, Tuple

import numpy as np
from PIL import Image, ImageFilter

from mmlocat.datasets.scenes.drawing import finish, free_place

from .sources import Sources

_MARGIN = 2  # empty px around the 8 x 8 digit, so that the bicubic warp fades out
_MIN_SIZE, _MAX_SIZE = 14.0, 20.0  # px of the drawn digit
_MAX_ANGLE = 8.0  # degrees
_DILATION = 2  # px; thin strokes collapse every class to background at this scale


def render_scene(sources: Sources, canvas: int, max_digits: int,
                 rng: np.random.Generator) -> Tuple[np.ndarray, np.ndarray, List[int]]:
    """Draws one to ``max_digits`` digits on a scene of ``canvas`` px; ``rng`` is the only source of randomness.

    Returns:
        The image (canvas, canvas, 3) RGB uint8; the label map (canvas, canvas) uint8 with 0 for
        background and 1 + digit on strokes dilated by 2 px; and the classes of the digits drawn.
    """
    scene = _background(sources, canvas, rng)
    label_map = np.zeros((canvas, canvas), np.uint8)
    boxes: List[Tuple[float, float, float]] = []
    labels: List[int] = []
    for _ in range(rng.integers(1, max_digits + 1)):
        size = rng.uniform(_MIN_SIZE, _MAX_SIZE)
        centre = free_place(boxes, size, canvas, rng)
        index = rng.integers(len(sources.digits))
        ink = _warp(sources.digits[index], size, centre, canvas, rng)
        colour = rng.uniform(0.5, 1.0, 3)
        if centre is None:
            continue
        boxes.append((*centre, size))
        cover = np.asarray(ink, np.float64)[..., None] / 255
        scene = scene * (1 - cover) + 255 * colour / colour.max() * cover
        stroke = ink.point(lambda value: 255 * (value > 127)).filter(ImageFilter.MaxFilter(2 * _DILATION + 1))
        label_map[np.asarray(stroke) > 0] = 1 + sources.labels[index]
        labels.append(int(sources.labels[index]))
    return finish(scene, rng), label_map, labels


def _background(sources: Sources, canvas: int, rng: np.random.Generator) -> np.ndarray:
    photo = sources.photos[rng.integers(len(sources.photos))]
    top = rng.integers(photo.shape[0] - canvas + 1)
    left = rng.integers(photo.shape[1] - canvas + 1)
    crop = photo[top:top + canvas, left:left + canvas, rng.permutation(3)]
    return crop * rng.uniform(0.35, 0.65)


def _warp(digit: np.ndarray, size: float, centre, canvas: int, rng: np.random.Generator) -> Image.Image:
    """Draws a digit at ``size`` px, with random angle and aspect ratio, onto an empty canvas (bicubic)."""
    x, y = centre or (canvas / 2, canvas / 2)
    angle = math.radians(rng.uniform(-_MAX_ANGLE, _MAX_ANGLE))
    aspect = math.sqrt(rng.uniform(0.85, 1.15))
    scale_x, scale_y = 8 / (size * aspect), 8 * aspect / size  # canvas px to digit px
    cos, sin = math.cos(angle), math.sin(angle)
    middle = 4 + _MARGIN
    # PIL needs the inverse map: from each output pixel to its source.
    a, b = cos * scale_x, sin * scale_x
    d, e = -sin * scale_y, cos * scale_y
    matrix = (a, b, middle - a * x - b * y, d, e, middle - d * x - e * y)
    padded = Image.fromarray(np.pad(digit, _MARGIN))
    return padded.transform((canvas, canvas), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
