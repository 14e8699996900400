"""Says what a data set of drawn scenes is: its name, its parameters, its sources, and how one scene is drawn."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Dict, Tuple

import numpy as np

SPLITS = ('train', 'val', 'test')
TASKS = ('classification', 'segmentation')


def cache_folder() -> Path:
    """Returns where data sets are kept: ``$MMLOCAT_DATA``, else ``mmlocat`` in the user's cache folder."""
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    return Path(os.environ.get('MMLOCAT_DATA') or cache / 'mmlocat')


@dataclass(frozen=True)
class ScenesSpec:
    """The parameters that determine every pixel of a data set; a subclass sets their defaults and draws.

    Args:
        seed: Seed of the split and of every scene.
        classification: Number of images in train, val and test, one object each.
        segmentation: Number of scenes in train, val and test, several objects each.
        classification_canvas: Side of a classification image in px.
        segmentation_canvas: Side of a scene in px.
    """

    seed: int = 0
    classification: Tuple[int, int, int] = (0, 0, 0)
    segmentation: Tuple[int, int, int] = (0, 0, 0)
    classification_canvas: int = 0
    segmentation_canvas: int = 0

    NAME: ClassVar[str] = ''
    FOLDER: ClassVar[str] = ''  # the cached folder's name begins with it
    VERSION: ClassVar[int] = 1  # increase it when any pixel changes

    def describe(self) -> dict:
        """Returns the specification as JSON-ready data, version included."""
        return json.loads(json.dumps({'version': self.VERSION, **asdict(self)}))

    def default_root(self) -> Path:
        """Returns where the data set of this seed is cached."""
        return cache_folder() / f'{self.FOLDER}-v{self.VERSION}-seed{self.seed}'

    def load_sources(self) -> Dict[str, Any]:
        """Returns what each split draws from; splits share nothing."""
        raise NotImplementedError

    def draw(self, sources: Any, task: str, rng: np.random.Generator) -> Tuple[np.ndarray, np.ndarray, int]:
        """Draws one scene from a split's sources; ``rng`` is the only source of randomness.

        Returns:
            The image (canvas, canvas, 3) RGB uint8; the label map (canvas, canvas) uint8 with 0 for background and
            1 + class on objects; and the class of the first object.
        """
        raise NotImplementedError
