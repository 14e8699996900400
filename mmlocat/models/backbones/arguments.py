"""Checks the arguments and inputs of LocAtViT, on which its parent class would fail without explanation or late."""

from __future__ import annotations

from typing import List, Sequence, Union

import torch
from torch import Tensor

_INTERPOLATE_MODES = ('bicubic', 'bilinear', 'area', 'nearest', 'nearest-exact', 'dino')


def check_arguments(img_size: object, patch_size: object, drop_path_rate: float, interpolate_mode: str) -> None:
    """Checks arguments of the constructor.

    Args:
        img_size: One or two positive whole numbers, in px.
        patch_size: One or two positive whole numbers, in px.
        drop_path_rate: A number in [0, 1).
        interpolate_mode: The mode for resizing position embeddings.

    Raises:
        ValueError: An argument is invalid; the message says which.
    """
    for name, value in (('img_size', img_size), ('patch_size', patch_size)):
        sides = value if isinstance(value, (tuple, list)) else (value, value)
        if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
            raise ValueError(f'{name} must be a positive whole number or a pair (height, width) of them, in pixels; '
                             f'got {value!r}')
    if not isinstance(drop_path_rate, (int, float)) or not 0 <= drop_path_rate < 1:
        raise ValueError(f'drop_path_rate must lie in [0, 1), got {drop_path_rate!r}')
    if interpolate_mode not in _INTERPOLATE_MODES:
        raise ValueError(f'unknown interpolate_mode {interpolate_mode!r}; choose one of '
                         f'{", ".join(_INTERPOLATE_MODES)}')


def one_a_block(layer_cfgs: Union[dict, Sequence[dict]], num_layers: int) -> Sequence[dict]:
    """Returns the additional arguments of every block, one dict each.

    Args:
        layer_cfgs: One dict for all blocks, or a sequence of them.
        num_layers: Number of blocks.

    Raises:
        ValueError: The sequence has another length.
    """
    if isinstance(layer_cfgs, dict):
        return [layer_cfgs] * num_layers
    if len(layer_cfgs) != num_layers:
        raise ValueError(f'layer_cfgs has {len(layer_cfgs)} entries for {num_layers} blocks; '
                         'give one dict for all, or one a block')
    return layer_cfgs


def absolute_indices(out_indices: Union[int, Sequence[int]], num_layers: int) -> List[int]:
    """Returns the blocks that ``out_indices`` asks for, counted from the first.

    Args:
        out_indices: One number or a sequence; negative numbers count from the last block.
        num_layers: Number of blocks.

    Raises:
        AssertionError: They have another type, or are out of range; worded as in mmpretrain.
    """
    if isinstance(out_indices, int):
        out_indices = [out_indices]
    assert isinstance(out_indices, Sequence), \
        f'"out_indices" must be a sequence or int, get {type(out_indices)} instead.'
    absolute = [num_layers + index if index < 0 else index for index in out_indices]
    for given, index in zip(out_indices, absolute):
        assert 0 <= index < num_layers, f'Invalid out_indices {given}; there are blocks 0 to {num_layers - 1}'
    return absolute


def check_images(images: Tensor, weight: Tensor) -> None:
    """Checks a batch of images.

    Args:
        images: Shape (B, channels, height, width), floating point.
        weight: The weight of the patch convolution, shape (C, channels, height, width).

    Raises:
        ValueError: The images have another shape.
        TypeError: They are not floating point, or differ from the weights in dtype while autocast is off.
    """
    channels = weight.shape[1]
    if images.dim() != 4 or images.shape[1] != channels:
        raise ValueError(f'LocAtViT takes images of shape (B, {channels}, height, width), got {tuple(images.shape)}; '
                         f'in_channels={channels} sets the channels')
    if not images.is_floating_point():
        raise TypeError(f'LocAtViT takes floating-point images, got {images.dtype}; normalise them first, as the '
                        "data_preprocessor of a model's config does")
    if images.dtype != weight.dtype and not _autocasts(images.device.type):
        raise TypeError(f'images are {images.dtype}, the weights {weight.dtype}; convert one of them, or run under '
                        'torch.autocast')


def _autocasts(device_type: str) -> bool:
    """Whether autocast is on; PyTorch before 2.4 has separate functions for CPU and GPU."""
    if hasattr(torch, 'get_autocast_dtype'):
        return torch.is_autocast_enabled(device_type)
    return torch.is_autocast_cpu_enabled() if device_type == 'cpu' else torch.is_autocast_enabled()
