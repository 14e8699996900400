"""Exports trained models as ONNX files that take any batch, height and width, and checks them before they appear."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple, Union

import torch
from mmengine.config import Config
from torch import Tensor, nn

import mmlocat
from mmlocat.checkpoints import read_checkpoint
from mmlocat.models.backbones.protocol import find_backbone
from mmlocat.models.building import build_model, load_weights
from mmlocat.utils import check_folder, first_line, require_modules, staged

from .model import Exportable, flat, named_outputs
from .verify import Difference, difference

OPSET = 20  # the first with Gelu; onnxruntime supports it since 1.17
TOLERANCE = 1e-4  # times the largest output, or times 1 if that is smaller
_LIMIT = 1.5 * 1000**3  # bytes of weights; of more PyTorch makes a second file beside the graph


class Export(NamedTuple):
    """Describes the file that was written.

    Args:
        path: The file.
        task: 'backbone', 'classifier' or 'segmentor'.
        outputs: Names of the outputs.
        differences: From the PyTorch model, at shapes not seen at export; empty if the check was left out.
    """

    path: Path
    task: str
    outputs: List[str]
    differences: List[Difference]


def export_onnx(config: Config, checkpoint: str, output: Union[str, Path], *, part: str = 'model', check: bool = True,
                trust_pickle: bool = False) -> Export:
    """Exports a trained model.

    Args:
        config: A config of MMPretrain or MMSegmentation.
        checkpoint: As ``read_checkpoint`` takes it: of the whole model; for a backbone, of any model that contains it.
        output: The file to write, ending in .onnx. It appears only once it is complete and checked.
        part: 'model' for logits, 'backbone' for features of ``out_indices``.
        check: Whether to run the graph in onnxruntime and compare with PyTorch, at sizes not seen at export.
        trust_pickle: Whether a pickle may hold anything; it can run code.

    Returns:
        The file that was written, and how it compares.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ImportError: onnx, onnxscript, or for the check onnxruntime, is not installed.
        RuntimeError: This PyTorch cannot export, the checkpoint does not fit, or the outputs differ.
        ValueError: An argument is wrong, or the model cannot be exported for images of any size.
    """
    path = Path(output)
    if part not in ('model', 'backbone'):
        raise ValueError(f"part={part!r} is unknown; choose 'model' or 'backbone'")
    if path.suffix != '.onnx' or path.is_dir():
        raise ValueError(f'{output} {"is a folder" if path.is_dir() else "does not end in .onnx"}; name a file that '
                         'does, such as work_dirs/model.onnx')
    check_folder('the folder of the output', path.parent)
    if not hasattr(torch.compiler, 'is_exporting'):
        raise RuntimeError(f'PyTorch {torch.__version__} cannot record a graph for images of any size; install a newer '
                           'one (2.14 is tested)')
    require_modules(('onnx', 'onnxscript', *(('onnxruntime', ) if check else ())), 'deploy', 'ONNX export',
                    'onnxruntime is for the check alone: --no-check does without' if check else '')
    read = read_checkpoint(checkpoint, trust_pickle=trust_pickle)
    model = build_model(config)
    backbone = find_backbone(model)
    if backbone is None:
        raise ValueError(f'the backbone of this config is {type(getattr(model, "backbone", None)).__name__}; mmlocat '
                         'exports LocAtViT and its siblings (plain ViTs too: gaug=False), for others there is mmdeploy')
    model = backbone if part == 'backbone' else model
    load_weights(model, read)
    exportable = Exportable(model)
    program = _record(exportable)
    program.model.metadata_props.update(_properties(config, exportable.task, model))
    differences = compare(program, exportable, model) if check else []
    with staged(path) as place:
        program.save(str(place), external_data=False)
    return Export(path, exportable.task, exportable.outputs, differences)


def _record(exportable: Exportable) -> torch.onnx.ONNXProgram:
    """Records the graph of a model, with dynamic batch, height and width."""
    weights = sum(p.numel() * p.element_size() for p in exportable.parameters())
    if weights > _LIMIT:
        raise ValueError(f'the weights take {weights / 1000**3:.1f} GB, more than the 1.5 GB that fit into one ONNX '
                         'file; export a smaller arch')
    from torch.export import Dim
    rows, columns = exportable.backbone.patch_size
    down, across = _patches_to_record(exportable.backbone)
    images = torch.zeros(2, exportable.backbone.in_channels, down * rows + 1, across * columns + 3)
    # At least three patches a side: with one, PyTorch would record another graph, and with two DPTHead, which halves
    # them, leaves one. The graph itself runs with less, too.
    dynamic = {0: Dim('batch'), 2: Dim('height', min=2 * rows + 1), 3: Dim('width', min=2 * columns + 1)}
    logging.disable(logging.WARNING)  # the exporter's messages to its developers
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter('ignore')
            program = torch.onnx.export(
                exportable, (images, ), dynamo=True, dynamic_shapes=(dynamic, ), input_names=['images'],
                output_names=exportable.outputs, opset_version=OPSET, verbose=False)
    except Exception as error:  # the exporter's errors have no common class
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise RuntimeError(f"PyTorch's ONNX exporter cannot record this {exportable.task}: "
                           f'{type(cause).__name__}: {first_line(cause)}') from error
    finally:
        logging.disable(logging.NOTSET)
    for node in program.model.graph:
        # The exporter notes the source file of each node: that is half of a small file, and of no use to others.
        for noted in (node, *node.outputs):
            noted.metadata_props.clear()
    return program


def _patches_to_record(backbone: nn.Module) -> Tuple[int, int]:
    """Returns how many whole patches the recorded image has down and across; a part of one follows.

    For a hierarchical backbone so many that even the last stage has several windows on either side: PyTorch takes a
    size of 1 for a special case, and would bind the graph to it.
    """
    if not hasattr(backbone, 'num_stages'):
        return 6, 8  # with the part an odd number: heads that halve maps take their general way, not that for even ones
    last = [windows * (backbone.window_size + 1) for windows in (2, 3)]  # the map of the last stage
    down, across = (2**(backbone.num_stages - 1) * (side - 1) for side in last)
    return down, across


def compare(run: Callable[[Tensor], Tuple[Tensor, ...]], exportable: Exportable, model: nn.Module) -> List[Difference]:
    """Compares a graph with MMPretrain's or MMSegmentation's own computation by ``model``, on random images.

    Sizes are that of pretraining, smaller and larger, whole patches and not, portrait and landscape; none was recorded.

    Raises:
        RuntimeError: The graph does not run, or differs by more than the tolerance.
    """
    (rows, columns), (height, width) = exportable.backbone.patch_size, exportable.backbone.img_size
    sizes = [(1, height, width), (3, 5 * rows, 2 * columns), (1, 2 * rows + 1, 11 * columns - 1),
             (2, 2 * rows, 3 * columns), (1, height + 4 * rows - 1, width + 7 * columns)]
    generator, found = torch.Generator().manual_seed(0), []
    for batch, *size in sizes:
        images = torch.randn(batch, exportable.backbone.in_channels, *size, generator=generator)
        with torch.no_grad():
            if exportable.task == 'backbone':
                expected = flat(model(images))
            elif exportable.task == 'classifier':
                expected = list(named_outputs(model(images, mode='tensor')).values())
            else:
                expected = [model.encode_decode(images, [dict(img_shape=tuple(size))] * batch)]
        try:
            actual = run(images)
        except Exception as error:  # onnxruntime's errors have no common class
            raise RuntimeError(f'the exported graph does not run on images of shape {tuple(images.shape)}: '
                               f'{first_line(error)}') from error
        found.append(difference('the exported graph', images.shape, expected, actual, TOLERANCE))
    return found


def _properties(config: Config, task: str, model: nn.Module) -> Dict[str, str]:
    """Returns the metadata that a user of the file needs, as strings, which is what ONNX stores."""
    backbone, preprocessor = getattr(model, 'backbone', model), getattr(model, 'data_preprocessor', None)
    known: Dict[str, Any] = dict(
        producer=f'mmlocat {mmlocat.__version__}', config=Path(config.filename or '').name, task=task,
        channel_order='RGB' if backbone.in_channels == 3 else None, input='normalised',
        patch_size=backbone.patch_size, ref_grid=backbone.ref_grid,
        classes=(getattr(model, 'dataset_meta', None) or {}).get('classes'))
    if getattr(preprocessor, 'mean', None) is not None:
        known.update(mean=preprocessor.mean.flatten().tolist(), std=preprocessor.std.flatten().tolist())
    return {f'mmlocat.{name}': value if isinstance(value, str) else json.dumps(value)
            for name, value in known.items() if value is not None}
