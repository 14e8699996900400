"""Runs ONNX files in onnxruntime and compares them with the PyTorch model that they were exported from."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator, List, Tuple, Union

import torch
from torch import Tensor, nn

from mmlocat.utils import first_line

from .compare import Difference, difference
from .model import Exportable

TOLERANCE = 1e-4  # times the largest output, or times 1 if that is smaller


class OnnxModel:
    """An ONNX file as a function of tensors.

    Args:
        path: The file.

    Raises:
        RuntimeError: onnxruntime cannot read it.
    """

    def __init__(self, path: Union[str, Path]) -> None:
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
        except Exception as error:  # its errors have no common class
            raise RuntimeError(f'onnxruntime cannot read {path}: {first_line(error)}') from error

    def __call__(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Returns all outputs for images (B, 3, H, W)."""
        outputs = self.session.run(None, {self.session.get_inputs()[0].name: images.detach().cpu().numpy()})
        return tuple(torch.from_numpy(output).to(images.device) for output in outputs)


def unseen_shapes(patch: Tuple[int, int], export_shape: Tuple[int, ...],
                  image: Tuple[int, int]) -> List[Tuple[int, ...]]:
    """Returns shapes of images for the comparison, all other than that of the export.

    They have the size of pretraining, larger and smaller ones, whole patches and not, portrait and landscape, and
    other batch sizes.

    Args:
        patch: Height and width of a patch in px.
        export_shape: (B, C, H, W) of the images that the graph was recorded with.
        image: Size of pretraining in px.
    """
    rows, columns = patch
    sizes = [(1, *image), (3, 5 * rows, 2 * columns), (1, 2 * rows + 1, 11 * columns - 1), (2, 2 * rows, 3 * columns),
             (1, image[0] + 4 * rows - 1, image[1] + 7 * columns)]
    return [(batch, export_shape[1], height, width) for batch, height, width in sizes
            if (batch, height, width) != (export_shape[0], *export_shape[2:])]


def reference(model: nn.Module, task: str, images: Tensor) -> Tuple[Tensor, ...]:
    """Returns the outputs that MMPretrain's or MMSegmentation's own code computes.

    Args:
        model: The model that was exported.
        task: What ``task_of`` returns for it.
        images: Normalised, (B, 3, H, W).
    """
    with torch.no_grad():
        if task == 'backbone':
            return tuple(model(images))
        if task == 'classifier':
            return (model(images, mode='tensor'), )
        return (model.encode_decode(images, [dict(img_shape=tuple(images.shape[2:]))] * len(images)), )


def compare(onnx_model: Callable[[Tensor], Tuple[Tensor, ...]], exportable: Exportable, model: nn.Module,
            shapes: List[Tuple[int, ...]], tolerance: float = TOLERANCE) -> Iterator[Difference]:
    """Compares an ONNX model with MMPretrain's or MMSegmentation's own computation, shape by shape.

    Args:
        onnx_model: The exported model.
        exportable: The function that was exported; it knows how images are normalised.
        model: The model that it was made from.
        shapes: Shapes of the images, which are random.
        tolerance: Allowed difference, as a share of the largest output, or of 1 if that is smaller.

    Yields:
        The largest difference at each shape.

    Raises:
        RuntimeError: A difference exceeds the tolerance, or the graph does not run at a shape.
    """
    generator = torch.Generator().manual_seed(0)
    for shape in shapes:
        images = torch.randn(shape, generator=generator)
        if exportable.pixels:
            images = (images * exportable.std + exportable.mean).clamp(0, 255).round()
        expected = reference(model, exportable.task, exportable.normalise(images))
        try:
            actual = onnx_model(images)
        except Exception as error:
            raise RuntimeError(f'the exported graph does not run on images of shape {shape}: '
                               f'{first_line(error)}') from error
        yield difference('the exported graph', shape, expected, actual, tolerance)
