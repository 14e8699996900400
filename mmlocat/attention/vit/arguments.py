"""Checks arguments and inputs of the backbones, on which libraries would fail without explanation or late."""

from __future__ import annotations

from typing import List, Sequence, Union

from torch import Tensor


def check_arguments(img_size: object, patch_size: object, drop_path_rate: float,
                    interpolate_mode: str = 'bicubic') -> None:
    """Refuses invalid arguments of a constructor.

    Raises:
        ValueError: One is invalid; the message names it.
    """
    for name, value in (('img_size', img_size), ('patch_size', patch_size)):
        sides = value if isinstance(value, (tuple, list)) else (value, value)
        if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
            raise ValueError(f'{name} must be a positive whole number or a pair (height, width) of them, in pixels; '
                             f'got {value!r}')
    if not isinstance(drop_path_rate, (int, float)) or not 0 <= drop_path_rate < 1:
        raise ValueError(f'drop_path_rate must lie in [0, 1), got {drop_path_rate!r}')
    if interpolate_mode not in ('bicubic', 'dino'):
        raise ValueError("position embeddings are resized by interpolate_mode='bicubic', with antialiasing, or 'dino', "
                         f"as DINO's code does; got {interpolate_mode!r}")


def absolute_indices(out_indices: Union[int, Sequence[int]], num_layers: int) -> List[int]:
    """Returns the blocks that ``out_indices`` asks for, counted from the first.

    Raises:
        AssertionError: It is no number or sequence, or there is no such block; worded as in mmpretrain.
        ValueError: It does not rise: mmpretrain would give each block once, in the order of the blocks, so that a head
            would take one map for another.
    """
    if isinstance(out_indices, int):
        out_indices = [out_indices]
    assert isinstance(out_indices, Sequence), \
        f'"out_indices" must be a sequence or int, get {type(out_indices)} instead.'
    absolute = [num_layers + index if index < 0 else index for index in out_indices]
    for given, index in zip(out_indices, absolute):
        assert 0 <= index < num_layers, f'Invalid out_indices {given}; there are blocks 0 to {num_layers - 1}'
    if absolute != sorted(set(absolute)):
        raise ValueError(f'out_indices={tuple(out_indices)} must rise: each block gives one output, in the order of '
                         f'the blocks; write {tuple(sorted(set(absolute)))}, and choose or repeat them by in_index of '
                         'the head')
    return absolute


def check_images(images: Tensor, channels: int, backbone: str) -> None:
    """Refuses images that are no floating-point tensor (B, channels, height, width).

    Args:
        images: The images.
        channels: How many the backbone takes.
        backbone: Name of its class, for the message.

    Raises:
        ValueError, TypeError: They have another shape, or are not floating point.
    """
    if images.dim() != 4 or images.shape[1] != channels:
        raise ValueError(f'{backbone} takes images of shape (B, {channels}, height, width), got '
                         f'{tuple(images.shape)}; in_channels={channels} sets the channels')
    if not images.is_floating_point():
        raise TypeError(f'{backbone} takes floating-point images, got {images.dtype}; normalise them first, as the '
                        "data_preprocessor of a model's config does")
