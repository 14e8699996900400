"""Compares the outputs of an exported or converted model with those of the model it was made from."""

from __future__ import annotations

from typing import NamedTuple, Sequence, Tuple

from torch import Tensor


class Difference(NamedTuple):
    """The largest difference of two models' outputs for the same images."""

    shape: Tuple[int, ...]  # of the images
    largest: float  # absolute difference of any output
    scale: float  # the largest output
    reader: str  # what computed the outputs that were compared


def difference(reader: str, shape: Sequence[int], expected: Sequence[Tensor], actual: Sequence[Tensor],
               tolerance: float) -> Difference:
    """Compares outputs, and raises an error if they differ by more than a tolerance.

    Args:
        reader: What computed ``actual``, for the message.
        shape: Shape of the images.
        expected: Outputs of the original model.
        actual: Outputs of the exported or converted one.
        tolerance: Allowed difference, as a share of the largest output, or of 1 if that is smaller.

    Raises:
        RuntimeError: They differ by more, or in shape.
    """
    shape = tuple(shape)
    for one, other in zip(expected, actual):
        if one.shape != other.shape:
            raise RuntimeError(f'{reader} gives shape {tuple(other.shape)} for images of shape {shape}, the model '
                               f'{tuple(one.shape)}; nothing was written')
    largest = max((one - other).abs().max().item() for one, other in zip(expected, actual))
    scale = max(one.abs().max().item() for one in expected)
    allowed = tolerance * max(1.0, scale)
    if not largest <= allowed:
        raise RuntimeError(f'{reader} differs by {largest:.2g} on images of shape {shape} (allowed {allowed:.2g}); '
                           'nothing was written')
    return Difference(shape, largest, scale, reader)
