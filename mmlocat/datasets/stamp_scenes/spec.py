"""What StampScenes is: cut-out photographs of Tux Paint's stamps over photographs and textures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional, Tuple, Union

import numpy as np

from mmlocat.datasets.scenes.build import prepare_scenes
from mmlocat.datasets.scenes.spec import ScenesSpec

from .render import render_scene
from .sources import Sources, load_sources

# Length of a stamp's longer side, in shares of the canvas, and the most stamps of a class.
_DRAWN = {'classification': ((0.5, 0.9), 1), 'segmentation': ((0.35, 0.6), 3)}


@dataclass(frozen=True)
class StampScenesSpec(ScenesSpec):
    """The parameters of StampScenes: one stamp on an image, one to three on a scene."""

    classification: Tuple[int, int, int] = (12000, 1000, 2000)
    segmentation: Tuple[int, int, int] = (1500, 300, 500)
    classification_canvas: int = 96
    segmentation_canvas: int = 128

    NAME = 'StampScenes'
    FOLDER = 'stamp_scenes'
    VERSION = 2  # the second keeps more of what is alike together, and crops the photograph alike in every split

    def load_sources(self) -> Dict[str, Sources]:
        """Returns the stamps and the background of each split; the first call fetches the stamps."""
        return load_sources(self.seed)

    def draw(self, sources: Sources, task: str, rng: np.random.Generator) -> Tuple[np.ndarray, np.ndarray, int]:
        """Draws one image or scene."""
        sizes, objects = _DRAWN[task]
        image, label_map, labels = render_scene(sources, getattr(self, f'{task}_canvas'), sizes, objects, rng)
        return image, label_map, labels[0]


def prepare_stamp_scenes(root: Optional[Union[str, Path]] = None, spec: StampScenesSpec = StampScenesSpec(),
                         progress: bool = True) -> Path:
    """Makes sure that StampScenes lies at ``root``; fetches the stamps and generates it if nothing is there.

    Arguments and errors are those of ``prepare_digit_scenes`` and ``prepare_stamps``.

    Returns:
        The folder.
    """
    return prepare_scenes(root, spec, progress)
