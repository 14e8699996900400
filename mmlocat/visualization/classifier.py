"""Puts a loaded classifier into MMPretrain's inferencer, which answers with the classes it holds most likely."""

from __future__ import annotations

from copy import deepcopy
from typing import Dict, Optional

import numpy as np
from mmpretrain.apis import ImageClassificationInferencer
from torch import nn

from .sources import shrink

_MOST = 5  # classes that an answer names


class Classifier(ImageClassificationInferencer):
    """MMPretrain's inferencer around a loaded model, with a title for pictures; ``load_predictor`` makes one.

    Args:
        model: The classifier with ``cfg``, its weights loaded; its ``dataset_meta``, if it has one, names the classes.
        title: Its name in pictures.
        max_side: ``predict`` shrinks pictures to this many px before the test pipeline; None leaves them.
        origin: What the model was loaded from, for people.
    """

    def __init__(self, model: nn.Module, title: str, max_side: Optional[int], origin: str = '') -> None:
        self.title, self.max_side, self.origin = title, max_side, origin
        config = deepcopy(model.cfg)
        # The inferencer leaves out a step of this name; here images are in memory, whatever step the config loads by.
        config.test_dataloader.dataset.pipeline[0] = dict(type='LoadImageFromFile')
        model._config = config  # where MMPretrain's own get_model puts it (1.2.0 to 1.3.6)
        super().__init__(model)

    def predict(self, picture: np.ndarray) -> Dict[str, float]:
        """Classifies an image.

        Args:
            picture: As ``pictures.load_image`` returns it, shape (H, W, channels).

        Returns:
            The names of the five most likely classes, best first, and what the model gives each, from 0 to 1.
        """
        # Not by __call__, which draws a progress bar.
        sample, = self.forward(next(self.preprocess([shrink(picture, self.max_side)])))
        scores = sample.pred_score.cpu().numpy()
        return {self._name(index, len(scores)): float(scores[index]) for index in np.argsort(-scores)[:_MOST]}

    def _name(self, index: int, count: int) -> str:
        """Returns a class's name, with its number where it has no name, or another has the same: ImageNet's cranes."""
        classes = list(getattr(self.model, 'dataset_meta', {}).get('classes') or ())
        if len(classes) != count:  # the checkpoint names those of other data
            return f'class {index}'
        return classes[index] if classes.count(classes[index]) == 1 else f'{classes[index]} (class {index})'
