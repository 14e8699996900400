"""Exports trained models as ONNX files that take any batch, height and width, and checks them before they appear."""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple, Union

import torch
from mmengine.config import Config

import mmlocat
from mmlocat.utils import first_line, require_modules, staged

from .compare import Difference
from .model import Exportable, load
from .runtime import TOLERANCE, OnnxModel, compare, unseen_shapes

OPSET = 20  # the first with Gelu; onnxruntime supports it since 1.17
_LIMIT = 2 * 1000**3  # bytes of weights that a protocol buffer can hold beside the graph


@dataclass
class Export:
    """Describes the file that was written.

    Args:
        path: The file.
        task: 'backbone', 'classifier' or 'segmentor'.
        outputs: Names of the outputs.
        differences: From the PyTorch model, at shapes not seen at export; empty if the check was left out.
        remarks: Remarks for the user.
    """

    path: Path
    task: str
    outputs: Tuple[str, ...]
    differences: List[Difference] = field(default_factory=list)
    remarks: List[str] = field(default_factory=list)


def check_target(output: Union[str, Path]) -> Path:
    """Returns the file to write.

    Raises:
        ValueError: The name does not end in .onnx, or is that of a folder.
    """
    path = Path(output)
    if path.suffix != '.onnx' or path.is_dir():
        raise ValueError(f'{output} {"is a folder" if path.is_dir() else "does not end in .onnx"}; name a file that '
                         'does, such as work_dirs/model.onnx')
    return path


def export_onnx(config: Config, checkpoint: str, output: Union[str, Path], *, part: str = 'model', pixels: bool = False,
                check: bool = True, tolerance: float = TOLERANCE, opset: int = OPSET, trust_pickle: bool = False,
                report: Callable[[str], None] = lambda text: None) -> Export:
    """Exports a trained model.

    Args:
        config: A config of MMPretrain or MMSegmentation.
        checkpoint: The trained weights; see ``model.load``.
        output: The file to write, ending in .onnx. It appears only once it is complete and checked.
        part: 'model' for logits, 'backbone' for features.
        pixels: Whether the graph takes RGB values from 0 to 255 and normalises them.
        check: Whether to run the file in onnxruntime and compare with PyTorch, at sizes not seen at export.
        tolerance: Allowed difference, as a share of the largest output, or of 1 if that is smaller.
        opset: Version of ONNX's operators.
        trust_pickle: Whether a pickle may hold anything; it can run code.
        report: Called with a line of text at every step.

    Returns:
        The file that was written, and how it compares.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ImportError: onnx, onnxscript, or for the check onnxruntime, is not installed.
        RuntimeError: This PyTorch cannot export, the checkpoint does not fit, or the outputs differ.
        ValueError: An argument is wrong, or the model cannot be exported for images of any size.
    """
    path = check_target(output)
    _require_exporter(check)
    model = load(config, checkpoint, part, trust_pickle)
    exportable = Exportable(model, pixels)
    backbone = exportable.backbone
    result = Export(path, exportable.task, exportable.names(), remarks=_remarks(exportable))
    with staged(path) as place:
        report('recording the graph')
        shape = record(exportable, place, opset, _describe(config, exportable, model.checkpoint_meta))
        if check:
            shapes = unseen_shapes(backbone.patch_size, shape, backbone.img_size)
            runs = OnnxModel(place)
            for difference in compare(runs, exportable, model, shapes, tolerance):
                result.differences.append(difference)
                report(f'checking sizes, {len(result.differences)} of {len(shapes)} done')
    return result


def record(exportable: Exportable, path: Path, opset: int, properties: Dict[str, str]) -> Tuple[int, ...]:
    """Writes a graph with dynamic batch, height and width, and returns the shape of the images it was recorded with.

    Args:
        exportable: The model.
        path: The file to write.
        opset: Version of ONNX's operators.
        properties: Metadata to write into the file.

    Raises:
        RuntimeError: The exporter fails.
        ValueError: The weights do not fit into one ONNX file.
    """
    weights = sum(p.numel() * p.element_size() for p in exportable.parameters())
    if weights > _LIMIT:
        raise ValueError(f'the weights take {weights / 1000**3:.1f} GB, more than the 2 GB that an ONNX file can hold; '
                         'export a smaller arch')
    from torch.export import Dim
    rows, columns = exportable.backbone.patch_size
    shape = (2, exportable.backbone.in_channels, 7 * rows + 1, 9 * columns + 3)
    # At least two patches a side: with one, PyTorch would record another graph. The graph itself runs with one, too.
    dynamic = {0: Dim('batch'), 2: Dim('height', min=rows + 1), 3: Dim('width', min=columns + 1)}
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                exportable, (torch.randn(shape, generator=torch.Generator().manual_seed(0)), ), dynamo=True,
                dynamic_shapes=(dynamic, ), input_names=['images'], output_names=list(exportable.names()),
                opset_version=opset, verbose=False)
    except Exception as error:  # the exporter's errors have no common class
        causes = [error]
        while causes[-1].__cause__ is not None:
            causes.append(causes[-1].__cause__)
        raise RuntimeError(f"PyTorch's ONNX exporter cannot record this {exportable.task}: "
                           f'{type(causes[-1]).__name__}: {first_line(causes[-1])}') from error
    for node in program.model.graph:
        # The exporter notes the source file of each node: that is half of a small file, and of no use to others.
        for noted in (node, *node.outputs):
            noted.metadata_props.clear()
    program.model.metadata_props.update(properties)
    program.save(str(path), external_data=False)
    return shape


def _require_exporter(check: bool) -> None:
    if not hasattr(torch.compiler, 'is_exporting'):
        raise RuntimeError(f'PyTorch {torch.__version__} cannot record a graph for images of any size; install a newer '
                           'one (2.14 is tested)')
    modules = ('onnx', 'onnxscript', *(('onnxruntime', ) if check else ()))
    require_modules(modules, 'deploy', 'ONNX export', 'onnxruntime is for the check alone: --no-check does without'
                    if check else '')


def _remarks(exportable: Exportable) -> List[str]:
    remarks = []
    if exportable.task == 'segmentor' and exportable.model.test_cfg.get('mode') == 'slide':
        remarks.append('the config tests with sliding windows; the graph computes one window, or a whole image')
    if exportable.normalises and not exportable.pixels:
        remarks.append('images go in normalised: mean and std are among the properties of the file')
    if not exportable.normalises:
        remarks.append('images go in normalised as in training')
    remarks.append('attention holds N x N numbers a head: memory grows with the fourth power of the image side')
    return remarks


def _describe(config: Config, exportable: Exportable, meta: Dict[str, Any]) -> Dict[str, str]:
    """Returns the metadata that a user of the file needs, as strings, which is what ONNX stores."""
    known = dict(
        producer=f'mmlocat {mmlocat.__version__}',
        config=Path(config.filename).name if config.filename else '',
        task=exportable.task,
        channel_order='RGB',
        input='RGB values from 0 to 255' if exportable.pixels else 'normalised',
        patch_size=exportable.backbone.patch_size,
        ref_grid=exportable.backbone.ref_grid,
        classes=(meta.get('dataset_meta') or {}).get('classes'))
    if exportable.normalises:
        known.update(mean=exportable.mean.flatten().tolist(), std=exportable.std.flatten().tolist())
    return {f'mmlocat.{name}': value if isinstance(value, str) else json.dumps(value)
            for name, value in known.items() if value is not None}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's messages to its developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)
