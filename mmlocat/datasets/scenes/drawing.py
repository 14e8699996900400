"""Draws what scenes of any objects share."""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

import numpy as np

_ATTEMPTS = 30  # to place another object beside the earlier ones


def free_place(boxes: Sequence[Tuple[float, float, float]], size: float, canvas: int,
               rng: np.random.Generator) -> Optional[Tuple[float, float]]:
    """Returns a centre (x, y) whose object hardly overlaps the earlier ones, or None if there is no room.

    Args:
        boxes: Centre and size (x, y, side) of the objects already drawn, in px.
        size: Side of the new object in px.
        canvas: Side of the scene in px.
        rng: Source of randomness.
    """
    for _ in range(_ATTEMPTS):
        x, y = rng.uniform(size / 2, canvas - size / 2, 2)
        if all(max(abs(x - ox), abs(y - oy)) > 0.4 * (size + other) for ox, oy, other in boxes):
            return x, y
    return None


def finish(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Adds the noise of a sensor to a scene (height, width, 3) of values from 0 to 255; returns it as uint8."""
    scene = scene + rng.normal(0, 4, scene.shape)
    return np.clip(np.rint(scene), 0, 255).astype(np.uint8)
