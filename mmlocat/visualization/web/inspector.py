"""What the page shows of a picture: both models' segmentations, and of a patch: its Gaussians and its attention."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Sequence, Tuple

import numpy as np
from PIL import Image

from mmlocat.visualization.blocks import Patch
from mmlocat.visualization.maps import collect, prepare_image
from mmlocat.visualization.overlay import compose
from mmlocat.visualization.patches import draw_attention, draw_picture, enlargement
from mmlocat.visualization.segment import Segmentor, shrink
from mmlocat.visualization.sources import read_image


@dataclass(frozen=True)
class Look:
    """What is shown after a click.

    Args:
        picture: To be clicked again, with the patch and its Gaussians.
        attention: A sheet of maps.
    """

    picture: Image.Image
    attention: Image.Image


class Inspector:
    """Computes what the page shows; one computation at a time, since it listens in the models' own modules.

    Args:
        models: The first is looked into, and all segment.

    Raises:
        TypeError: The first model's backbone is no ViT whose attention can be read.
    """

    def __init__(self, models: Sequence[Segmentor]) -> None:
        self.models = list(models)
        self._lock = threading.Lock()
        # Now, so that a backbone without attention is an error before the page opens.
        maps = collect(self._model, prepare_image(self._model, np.zeros((64, 64, 3), np.uint8)))
        self.num_blocks, self.patch_size = len(maps.blocks), maps.patch_size

    @property
    def _model(self):
        return self.models[0].inferencer.model

    def read(self, path: str) -> np.ndarray:
        """Reads a picture and shrinks it as the first model wants.

        Args:
            path: An image file.

        Returns:
            RGB, shape (H, W, 3), uint8.

        Raises:
            ValueError: It cannot be read as an image.
        """
        return np.ascontiguousarray(shrink(read_image(path), self.models[0].max_side)[..., ::-1])

    def segment(self, image: np.ndarray) -> Image.Image:
        """Draws what all models make of a picture.

        Args:
            image: RGB, shape (H, W, 3), uint8.
        """
        with self._lock:
            predictions = [model([image[..., ::-1]])[0] for model in self.models]
        return Image.fromarray(compose(image, predictions))

    def look(self, image: np.ndarray, patch: Patch, block: int) -> Look:
        """Looks into the first model.

        Args:
            image: RGB, shape (H, W, 3), uint8.
            patch: Row and column of the query patch.
            block: Number of the block, from 1.
        """
        with self._lock:
            maps = collect(self._model, prepare_image(self._model, image))
        chosen = maps.blocks[block - 1]
        ellipses = chosen.ellipses([patch]) if chosen.has_gaug else None
        return Look(draw_picture(image, maps.patch_size, patch, ellipses),
                    draw_attention(chosen, chosen.attention(patch), patch))

    def patch_at(self, image: np.ndarray, at: Tuple[float, float]) -> Patch:
        """Returns row and column of the patch at a pixel of the enlarged picture.

        Args:
            image: The picture, not enlarged.
            at: x and y in the enlarged picture; beyond its edge the nearest patch is meant.
        """
        scale = enlargement(image.shape[1], image.shape[0])
        height, width = self.patch_size
        x, y = (min(max(value / scale, 0), side - 1) for value, side in zip(at, image.shape[1::-1]))
        return int(y // height), int(x // width)

    def middle(self, image: np.ndarray) -> Patch:
        """Returns row and column of the patch in the middle of a picture (H, W, 3)."""
        scale = enlargement(image.shape[1], image.shape[0])
        return self.patch_at(image, (image.shape[1] * scale / 2, image.shape[0] * scale / 2))
