"""Computes what the page shows: every model's segmentation of a picture, and a patch's Gaussians and attention."""

from __future__ import annotations

import threading
from typing import Sequence, Tuple

import numpy as np
from PIL import Image

from mmlocat.visualization.blocks import Maps, Patch
from mmlocat.visualization.clicks import draw_attention, draw_picture, enlargement
from mmlocat.visualization.maps import collect, prepare_image
from mmlocat.visualization.overlay import compose
from mmlocat.visualization.segmentor import Segmentor
from mmlocat.visualization.sources import read_image, shrink


class Inspector:
    """Computes what the page shows, one request at a time, because it reads attention through hooks on the model.

    Pictures are RGB, shape (H, W, 3), uint8.

    Args:
        models: All of them segment the picture; Gaussians and attention are those of the first.

    Raises:
        TypeError: The attention of the first model's backbone cannot be read.
    """

    def __init__(self, models: Sequence[Segmentor]) -> None:
        self.models = list(models)
        self._lock = threading.Lock()
        # Run once here, so that a backbone whose attention cannot be read is an error before the page opens.
        maps = self._collect(np.zeros((64, 64, 3), np.uint8))
        self.num_blocks, self.patch_size = len(maps.blocks), maps.patch_size

    def _collect(self, image: np.ndarray) -> Maps:
        model = self.models[0].model
        with self._lock:
            return collect(model, prepare_image(model, image))

    def read(self, path: str) -> np.ndarray:
        """Reads a picture and shrinks it to the first model's ``max_side``.

        Args:
            path: An image file.

        Raises:
            ValueError: It cannot be read as an image.
        """
        return np.ascontiguousarray(shrink(read_image(path), self.models[0].max_side)[..., ::-1])

    def segment(self, image: np.ndarray) -> Image.Image:
        """Draws the segmentations of a picture by all models."""
        with self._lock:
            predictions = [model.predict([image[..., ::-1]])[0] for model in self.models]
        return Image.fromarray(compose(image, predictions))

    def look(self, image: np.ndarray, patch: Patch, block: int) -> Tuple[Image.Image, Image.Image]:
        """Draws the first model's Gaussians and attention for one query patch.

        Args:
            image: The picture.
            patch: Row and column of the query patch.
            block: Number of the block, from 1.

        Returns:
            The picture with the patch and its Gaussians, to be clicked again, and a sheet of attention maps.
        """
        chosen = self._collect(image).blocks[block - 1]
        return draw_picture(image, chosen, patch), draw_attention(chosen, chosen.attention(patch), patch)

    def patch_at(self, image: np.ndarray, at: Tuple[float, float]) -> Patch:
        """Returns row and column of the patch at a pixel of the enlarged picture.

        Args:
            image: The picture, not enlarged.
            at: x and y in the enlarged picture; a point beyond its edge gives the nearest patch.
        """
        height, width = image.shape[:2]
        x, y = np.clip(np.divide(at, enlargement(width, height)), 0, (width - 1, height - 1))
        return int(y // self.patch_size[0]), int(x // self.patch_size[1])

    def middle(self, image: np.ndarray) -> Patch:
        """Returns row and column of the patch in the middle of a picture."""
        return image.shape[0] // 2 // self.patch_size[0], image.shape[1] // 2 // self.patch_size[1]
