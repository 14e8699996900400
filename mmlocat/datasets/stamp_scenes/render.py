"""Draws one scene: cut-out photographs over a photograph or a texture."""

from __future__ import annotations

import math
from typing import List, Tuple

import numpy as np
from PIL import Image

from mmlocat.datasets.scenes.drawing import finish, free_place

from .sources import Sources

_MAX_ANGLE = 20.0  # degrees
_MAX_DISTRACTORS = 2
# Sides, in px, of what a background shows of the photograph: at most what the narrowest split's region holds, so that
# the scale of a background tells no split from another.
_CROPS = (96, 128)


def render_scene(sources: Sources, canvas: int, sizes: Tuple[float, float], max_objects: int,
                 rng: np.random.Generator) -> Tuple[np.ndarray, np.ndarray, List[int]]:
    """Draws one to ``max_objects`` stamps on a scene of ``canvas`` px; ``rng`` is the only source of randomness.

    The background is drawn before any class is chosen, and every class is as likely: neither tells of the other. A
    scene of several objects holds up to two distractors too, which are labelled as background.

    Args:
        sources: Of one split.
        canvas: Side of the scene in px.
        sizes: Least and largest length of a stamp's longer side, in shares of the canvas.
        max_objects: The most stamps of a class; a scene of one has no distractors.
        rng: Source of randomness.

    Returns:
        The image (canvas, canvas, 3) RGB uint8; the label map (canvas, canvas) uint8 with 0 for background and
        1 + class where a stamp is what is seen; and the classes of the stamps drawn.
    """
    scene = _background(sources.photo, canvas, rng)
    label_map = np.zeros((canvas, canvas), np.uint8)
    boxes: List[Tuple[float, float, float]] = []
    labels: List[int] = []
    objects = rng.integers(1, max_objects + 1)
    distractors = rng.integers(_MAX_DISTRACTORS + 1) if max_objects > 1 else 0
    for number in range(objects + distractors):
        label = int(rng.integers(len(sources.stamps))) if number < objects else None
        stamps = sources.distractors if label is None else sources.stamps[label]
        stamp = stamps[rng.integers(len(stamps))]
        size = canvas * rng.uniform(*sizes)
        centre = free_place(boxes, size, canvas, rng)
        if centre is None:
            continue
        boxes.append((*centre, size))
        layer = _place(stamp, size, centre, canvas, rng)
        cover = layer[..., 3:] / 255
        scene = scene * (1 - cover) + np.clip(layer[..., :3] * _light(rng), 0, 255) * cover
        label_map[layer[..., 3] > 127] = 0 if label is None else 1 + label
        if label is not None:
            labels.append(label)
    return finish(scene * _shade(canvas, rng), rng), label_map, labels


def _background(photo: np.ndarray, canvas: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a crop of the photograph with its colours exchanged, or a texture, as likely."""
    scene = _crop(photo, canvas, rng) if rng.random() < 0.5 else _texture(canvas, rng)
    return scene * rng.uniform(0.5, 1.0)


def _crop(photo: np.ndarray, canvas: int, rng: np.random.Generator) -> np.ndarray:
    side = int(rng.integers(_CROPS[0], _CROPS[1] + 1))
    top, left = (int(rng.integers(length - side + 1)) for length in photo.shape[:2])
    crop = np.rot90(photo[top:top + side, left:left + side, rng.permutation(3)], rng.integers(4))
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    resized = Image.fromarray(np.ascontiguousarray(crop)).resize((canvas, canvas), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float64)


def _texture(canvas: int, rng: np.random.Generator) -> np.ndarray:
    """Returns noise whose amplitude falls with a power of the frequency, as in photographs, between two colours."""
    frequency = np.hypot(np.fft.fftfreq(canvas)[:, None], np.fft.rfftfreq(canvas)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.normal(size=(canvas, canvas))) * frequency ** -rng.uniform(0.6, 1.8)
    noise = np.fft.irfft2(spectrum, (canvas, canvas))
    share = 1 / (1 + np.exp(-1.5 * noise / noise.std()))[..., None]
    first, second = rng.uniform(0, 255, (2, 3))
    return first * share + second * (1 - share)


def _place(stamp: np.ndarray, size: float, centre: Tuple[float, float], canvas: int,
           rng: np.random.Generator) -> np.ndarray:
    """Returns an empty canvas with the stamp on it, (canvas, canvas, 4): scaled, turned, mirrored at random."""
    stamp = stamp[:, ::-1] if rng.random() < 0.5 else stamp
    angle = rng.uniform(-_MAX_ANGLE, _MAX_ANGLE)
    height, width = (max(1, round(length * size / max(stamp.shape[:2]))) for length in stamp.shape[:2])
    picture = Image.fromarray(np.ascontiguousarray(stamp)).resize((width, height), Image.Resampling.LANCZOS)
    picture = picture.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    layer = Image.new('RGBA', (canvas, canvas))
    layer.paste(picture, (round(centre[0] - picture.width / 2), round(centre[1] - picture.height / 2)))
    return np.asarray(layer)


def _light(rng: np.random.Generator) -> np.ndarray:
    """Returns factors of red, green and blue: brightness, and a little of a tint."""
    return rng.uniform(0.75, 1.25) * rng.uniform(0.93, 1.07, 3)


def _shade(canvas: int, rng: np.random.Generator) -> np.ndarray:
    """Returns factors (canvas, canvas, 1) of light that falls off from one side to the other."""
    angle, depth = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.25)
    steps = np.linspace(-1, 1, canvas)
    return 1 - depth * (1 + (math.cos(angle) * steps[None] + math.sin(angle) * steps[:, None]))[..., None] / 2
