"""Finds and loads the models that command lines name, for ``tools/analysis/``, ``tools/predict.py`` and ``demo/``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Union

from mmlocat.models.building import image_channels
from mmlocat.utils.arguments import DEMO_MAX_SIDE
from mmlocat.zoo import find_model

from .segmentor import Predictor, load_segmentor


class ModelFiles(NamedTuple):
    """A trained model's name in pictures, its config file and its weights; None for random ones."""

    title: str
    config: Union[str, Path]
    checkpoint: Union[str, Path, None]


def named_files(config: str, checkpoint: Optional[str] = None) -> ModelFiles:
    """Finds what a user names, with a title for pictures.

    Args:
        config: A config file, or the name of a shipped one, which may bring its published weights.
        checkpoint: Weights; by default the published ones. Where there are none, weights are random.

    Raises:
        ValueError: No config is shipped under the name.
    """
    if not Path(config).suffix and not Path(config).exists():
        config, published = find_model(config)
        checkpoint = checkpoint or published
    return ModelFiles(f'{Path(config).stem}, {Path(checkpoint).stem if checkpoint else "random weights"}', config,
                      checkpoint)


def load_segmentors(args: argparse.Namespace, trained: Callable[[str], ModelFiles],
                    load: Callable[..., Predictor] = load_segmentor) -> List[Predictor]:
    """Loads the model and, if asked for, the one to compare with.

    Args:
        args: The values of the options of ``add_segmentor_options``.
        trained: Returns the demo's trained model of an arm, for where the user names none: 'locatvit' as the first,
            'vit' to compare with.
        load: ``load_segmentor``, or ``load_predictor`` to take classifiers too.

    Raises:
        FileNotFoundError: A config or checkpoint does not exist.
        ValueError: A config is of a task that ``load`` does not take, or the two take images of different channels.
        RuntimeError: A checkpoint cannot be read or is of another model.
    """
    def load_one(config: Optional[str], checkpoint: Optional[str], arm: str) -> Predictor:
        files = named_files(config, checkpoint) if config else trained(arm)
        return load(files.config, files.checkpoint, args.device, args.trust_pickle, files.title,
                    args.max_side or (None if config else DEMO_MAX_SIDE))

    models = [load_one(args.config, args.checkpoint, 'locatvit')]
    if args.against is not None:
        models.append(load_one(*(args.against or (None, None)), 'vit'))
        taken = [image_channels(one.model) for one in models]
        if taken[0] != taken[1]:
            raise ValueError(f'the models take images of {taken[0]} and {taken[1]} channels; compare two that take the '
                             'same images')
    return models
