"""Reads images for models of any number of channels and depth of bits, and shows them as pictures.

The config of a model says how its images are loaded, so tools load them by the same step of its test pipeline. What is
shown is a picture of 8 bits: an image of one or two channels by its first one in grey, one of more by its first three,
which OpenCV reads as blue, green and red.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Union

import cv2
import numpy as np
from mmcv.transforms import LoadImageFromFile, Normalize
from mmengine.registry import TRANSFORMS, DefaultScope
from torch import nn

from mmlocat.config import is_kind, resolve_type, tested_dataset
from mmlocat.models.building import image_channels
from mmlocat.utils import first_line

from .sources import read_image


def load_image(path: Union[str, Path], model: nn.Module) -> np.ndarray:
    """Loads an image as the test pipeline of a model's config does.

    Args:
        path: The file, of any kind that the config's own loading step reads.
        model: A model with ``cfg``, as ``load_model`` returns it.

    Returns:
        Shape (H, W, channels); uint8, or float32 for other depths. Three channels are BGR, others as they are loaded.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be loaded, or has other channels than the model takes.
    """
    channels, step = image_channels(model), next(iter(test_pipeline(getattr(model, 'cfg', {}))), None)
    # MMCV's own step without arguments reads what ``read_image`` reads, with an error that says more.
    plain = step is not None and set(step) == {'type'} and resolve_type(
        step, TRANSFORMS, model.cfg.get('default_scope')) is LoadImageFromFile
    if step is None or (channels == 3 and plain):
        pixels = read_image(path)
    elif not Path(path).is_file():
        raise FileNotFoundError(f'image {path} does not exist')
    else:
        try:
            with DefaultScope.overwrite_default_scope(model.cfg.get('default_scope')):
                pixels = np.asarray(TRANSFORMS.build(step)(dict(img_path=str(path)))['img'])
        except Exception as error:  # a loading step may be anybody's
            raise ValueError(f'{path} cannot be read as an image by {step["type"]}, as the config of the model says: '
                             f'{type(error).__name__}: {first_line(error)}') from error
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[2] != channels:
        raise ValueError(f'{path} has {pixels.shape[2]} channels as the config loads it, and the model takes '
                         f'{channels}; give an image of {channels}, or set color_type in the first step of '
                         'test_dataloader.dataset.pipeline')
    # PyTorch before 2.3 has no uint16.
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def normalise_in_pipeline(image: np.ndarray, model: nn.Module) -> np.ndarray:
    """Returns an image as ``load_image`` gives it, after the ``Normalize`` of the test pipeline, if there is one.

    Configs of images with other than one or three channels normalise there, for MMEngine's data preprocessors take
    one mean or three.
    """
    for step in test_pipeline(getattr(model, 'cfg', {})):
        if is_kind(step, Normalize, TRANSFORMS, model.cfg.get('default_scope')):
            with DefaultScope.overwrite_default_scope(model.cfg.get('default_scope')):
                image = TRANSFORMS.build(step)(dict(img=np.ascontiguousarray(image)))['img']
    return image.reshape(*image.shape[:2], -1)


def test_pipeline(config: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Returns the steps of a config's test pipeline, the first of which loads an image; [] without one."""
    return tested_dataset(config).get('pipeline') or []


def frame_for(frame: np.ndarray, channels: int) -> np.ndarray:
    """Returns a frame of a video, BGR (H, W, 3), for a model of one or three channels, (H, W, channels).

    Raises:
        ValueError: The model takes another number of channels.
    """
    if channels not in (1, 3):
        raise ValueError(f'videos and cameras have three channels, and the model takes {channels}; give images')
    return frame if channels == 3 else cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)[..., None]


def swap_colours(image: np.ndarray) -> np.ndarray:
    """Turns BGR into RGB and back; an image (H, W, channels) of other than three channels stays as it is."""
    return image[..., ::-1] if image.shape[2] == 3 else image


def as_picture(image: np.ndarray) -> np.ndarray:
    """Returns what can be shown of an image.

    Args:
        image: Shape (H, W, channels), RGB if it has three.

    Returns:
        RGB, shape (H, W, 3), uint8; other depths are stretched from their smallest to their largest value.
    """
    channels = image.shape[2]
    shown = image if channels == 3 else image[..., 2::-1] if channels > 3 else image[..., :1].repeat(3, axis=2)
    if shown.dtype != np.uint8:
        low, high = float(shown.min()), float(shown.max())
        shown = ((shown - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
    return np.ascontiguousarray(shown)


def shown_of(channels: int) -> str:
    """Returns a note for captions, ', channels 1 to 3 of 10 shown', or '' where a picture shows all channels."""
    if channels in (1, 3):
        return ''
    return f', channel{"s 1 to 3" if channels > 3 else " 1"} of {channels} shown'
