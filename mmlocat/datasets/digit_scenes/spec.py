"""What DigitScenes is: handwritten digits over crops of photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional, Tuple, Union

import numpy as np

from mmlocat.datasets.scenes.build import prepare_scenes
from mmlocat.datasets.scenes.spec import ScenesSpec

from .render import render_scene
from .sources import Sources, load_sources


@dataclass(frozen=True)
class DigitScenesSpec(ScenesSpec):
    """The parameters of DigitScenes: one digit on an image, one to three on a scene."""

    classification: Tuple[int, int, int] = (36000, 2000, 2000)
    segmentation: Tuple[int, int, int] = (1500, 500, 500)
    classification_canvas: int = 24
    segmentation_canvas: int = 36

    NAME = 'DigitScenes'
    FOLDER = 'digit_scenes'

    def load_sources(self) -> Dict[str, Sources]:
        """Returns the digits and photographs of each split."""
        return load_sources(self.seed)

    def draw(self, sources: Sources, task: str, rng: np.random.Generator) -> Tuple[np.ndarray, np.ndarray, int]:
        """Draws one image or scene."""
        canvas, digits = ((self.classification_canvas, 1) if task == 'classification' else
                          (self.segmentation_canvas, 3))
        image, label_map, classes = render_scene(sources, canvas, digits, rng)
        return image, label_map, classes[0]


def prepare_digit_scenes(root: Optional[Union[str, Path]] = None, spec: DigitScenesSpec = DigitScenesSpec(),
                         progress: bool = True) -> Path:
    """Makes sure that DigitScenes lies at ``root``; generates it if nothing is there.

    Processes that call this at once wait for the first. An interrupted call leaves nothing behind.

    Args:
        root: Its folder. Defaults to the user's cache folder (``$MMLOCAT_DATA``).
        spec: What to generate.
        progress: Whether to show a progress bar.

    Returns:
        The folder.

    Raises:
        ValueError: ``root`` holds another data set or specification, or lies in a file.
        RuntimeError: ``root`` is a folder that holds no data set.
    """
    return prepare_scenes(root, spec, progress)
