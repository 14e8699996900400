"""Models and images to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple, Union

import numpy as np
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from PIL import Image, UnidentifiedImageError
from torch import nn

from mmlocat.checkpoints.schemes import install_reader
from mmlocat.config import load_config
from mmlocat.training.initial_weights import check_model_weights
from mmlocat.visualization import sources

from .maps import backbone_of

_SIDE_FACTOR = 3  # pictures up to so many times the side of pretraining are looked at as they are


def load_model(config: Union[str, Path], checkpoint: Union[str, Path], device: str = 'cpu',
               trust_pickle: bool = False) -> nn.Module:
    """Builds a model and gives it the weights of a checkpoint, all of which must fit.

    Args:
        config: Config file of MMPretrain or MMSegmentation.
        checkpoint: Weights of the whole model.
        device: Such as 'cpu' or 'cuda:0'.
        trust_pickle: Whether the checkpoint may hold anything; it can run code.

    Returns:
        The model, with its data preprocessor, in evaluation mode.

    Raises:
        FileNotFoundError: Config or checkpoint do not exist.
        ValueError: The config cannot be read.
        RuntimeError: The checkpoint cannot be read, or is of another model.
    """
    settings = load_config(str(config))
    (settings.model.get('backbone') or {}).pop('init_cfg', None)  # the checkpoint holds the backbone
    if settings.get('data_preprocessor') is not None:  # as mmengine's Runner does
        settings.model.setdefault('data_preprocessor', settings.data_preprocessor)
    install_reader(trust_pickle)
    check_model_weights(settings, str(checkpoint), trust_pickle)
    init_default_scope(settings.get('default_scope', 'mmengine'))
    model: nn.Module = MODELS.build(settings.model)
    load_checkpoint(model, str(checkpoint), map_location='cpu', logger='silent')
    model.to(device).eval()  # which returns None for some models of MMPretrain
    return model


def largest_side(model: nn.Module) -> int:
    """Returns how many px a picture's longer side may have, unless a user says otherwise: three times pretraining's."""
    return _SIDE_FACTOR * max(backbone_of(model).img_size)


def read_image(path: Union[str, Path], max_side: int) -> Tuple[np.ndarray, float]:
    """Reads a picture and shrinks it if it is large.

    Args:
        path: The file; it is turned as its camera says, as MMSegmentation does.
        max_side: The longer side gets at most so many px.

    Returns:
        RGB, shape (height, width, 3), and its size divided by that of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no picture, or a damaged one.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'image {path} does not exist')
    picture = Image.fromarray(sources.read_image(path)[..., ::-1])
    factor = min(1.0, max_side / max(picture.size))
    if factor < 1:
        picture = picture.resize([max(1, round(side * factor)) for side in picture.size], Image.BICUBIC)
    return np.asarray(picture), factor


def read_labels(path: Union[str, Path], shape: Optional[Tuple[int, int]] = None) -> np.ndarray:
    """Reads a map of labels, one byte a pixel.

    Args:
        path: A picture of one channel; palettes are left alone.
        shape: Height and width to bring it to, nearest pixel; None leaves them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such picture.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'label map {path} does not exist')
    try:
        with Image.open(path) as file:
            if file.mode not in ('L', 'P'):
                raise ValueError(f'its mode is {file.mode}')
            if shape is not None and abs(file.size[0] / file.size[1] / (shape[1] / shape[0]) - 1) > 0.1:
                raise ValueError(f'it is {file.size[0]} x {file.size[1]} px, and its image, as shown, {shape[1]} x '
                                 f'{shape[0]}: is the image turned by its EXIF data, and the labels are not?')
            labels = file if shape is None or file.size == shape[::-1] else file.resize(shape[::-1], Image.NEAREST)
            return np.asarray(labels)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f'{path} cannot be read as a label map of one byte a pixel ({error})') from error
