"""int8 weights and dynamically quantised activations, by onnxruntime, and what that costs on a config's test data."""

from __future__ import annotations

import copy
import logging
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Union

from mmengine.config import Config
from torch import Tensor, nn

from mmlocat.checkpoints.schemes import install_reader
from mmlocat.training.initial_weights import check_model_weights
from mmlocat.training.runner import build_runner, build_test_data
from mmlocat.utils import require_modules, staged

from .export import OPSET, check_target, export_onnx
from .model import load_model, task_of
from .runtime import OnnxModel

# Products with a weight matrix. The patch convolution stays: it is one of hundreds, and reads the pixels themselves.
_QUANTISED = ['MatMul', 'Gemm']
# The two layers of GAug, as modules are called in the graph: 3 numbers a query that enter an exponential, and no cost.
_KEPT = '.gaug'
_LINEAR = "'linear"  # begins the last scope of a linear layer's product; that of the position embedding has another


@dataclass(frozen=True)
class Variant:
    """One form of the model on the test data.

    Args:
        name: 'PyTorch float32', 'ONNX float32' or 'ONNX int8'.
        size: Bytes of the weights (PyTorch) or of the file (ONNX).
        metrics: By the names of the config's evaluator.
    """

    name: str
    size: int
    metrics: Dict[str, float]


def quantise(config: Config, checkpoint: str, output: Union[str, Path], *, pixels: bool = False,
             evaluate: bool = True, trust_pickle: bool = False,
             report: Callable[[str], None] = lambda text: None) -> List[Variant]:
    """Writes an int8 ONNX file of a trained model, and tests it beside the float32 ones.

    Args:
        config: Of MMPretrain or MMSegmentation; its test data and evaluator measure.
        checkpoint: Of the whole model.
        output: The file to write, ending in .onnx. It appears when all is done, or not at all.
        pixels: Whether the graph takes RGB values from 0 to 255 and normalises them; not with ``evaluate``, which
            goes through the config's preprocessing.
        evaluate: Whether to test; else metrics are empty.
        trust_pickle: Whether a pickle may hold anything.
        report: Is told what is being done.

    Returns:
        PyTorch float32, ONNX float32 and ONNX int8, in this order.

    Raises:
        FileNotFoundError: The checkpoint or the test data do not exist.
        ImportError: onnx or onnxruntime is not installed.
        RuntimeError: The checkpoint does not fit, or the export fails.
        ValueError: An argument is wrong.
    """
    path = check_target(output)
    require_modules(('onnx', 'onnxscript', 'onnxruntime'), 'deploy', 'int8 inference')
    if evaluate and pixels:
        raise ValueError('pixels=True (--pixels) normalises in the graph, and so does the preprocessing of the test '
                         'data; quantise without testing (--no-test), or without --pixels')
    runner = None
    with staged(path) as place, tempfile.TemporaryDirectory() as folder:
        if evaluate:  # first, so that missing data show before the work
            runner = _test_runner(config, checkpoint, folder, trust_pickle)
        whole = Path(folder) / 'float32.onnx'
        export_onnx(config, checkpoint, whole, pixels=pixels, trust_pickle=trust_pickle, report=report, opset=OPSET)
        report('quantising')
        _write_int8(whole, place)
        names = ('PyTorch float32', 'ONNX float32', 'ONNX int8')
        metrics: List[Dict[str, float]] = [{}, {}, {}]
        if runner is not None:
            for number, (name, file) in enumerate(zip(names, (None, whole, place))):
                report(f'testing {name}')
                metrics[number] = _test(runner, file)
        # The checkpoint may hold an optimizer; the weights alone are compared.
        model = load_model(config, checkpoint, trust_pickle=trust_pickle)[0] if runner is None else runner.model
        weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
        sizes = (weights, whole.stat().st_size, place.stat().st_size)
    return [Variant(*entry) for entry in zip(names, sizes, metrics)]


def _write_int8(source: Path, target: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    kept = [node.name for node in onnx.load(str(source), load_external_data=False).graph.node
            if not any(_LINEAR in entry.value and _KEPT not in entry.value for entry in node.metadata_props)]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises a preprocessing that the exporter has done
    try:
        quantize_dynamic(str(source), str(target), op_types_to_quantize=_QUANTISED, nodes_to_exclude=kept,
                         per_channel=True, weight_type=QuantType.QInt8)
    finally:
        root.setLevel(level)


def _test_runner(config: Config, checkpoint: str, work_dir: str, trust_pickle: bool):
    config = copy.deepcopy(config)
    if config.get('test_dataloader') is None or config.get('test_evaluator') is None:
        raise ValueError('the config has no test_dataloader and test_evaluator to measure with; quantise without '
                         'testing (--no-test)')
    install_reader(trust_pickle)
    check_model_weights(config, checkpoint, trust_pickle)
    config.work_dir, config.launcher, config.load_from = work_dir, 'none', checkpoint
    config.visualizer = None
    (config.model.get('backbone') or {}).pop('init_cfg', None)  # the checkpoint holds the backbone
    runner = build_runner(config, [], training=False)
    build_test_data(runner)
    runner.load_checkpoint(checkpoint)
    runner.call_hook('before_run')  # hooks learn where logs go
    return runner


def _test(runner, file: Union[Path, None]) -> Dict[str, float]:
    if file is None:
        return dict(runner.test_loop.run())
    with _computed_by(runner.model, OnnxModel(file)):
        return dict(runner.test_loop.run())


@contextmanager
def _computed_by(model: nn.Module, onnx_model: OnnxModel) -> Iterator[None]:
    """Lets a graph compute a model's logits; what comes before and after stays MMPretrain's or MMSegmentation's."""

    def logits(images: Tensor, *_) -> Tensor:
        return onnx_model(images)[0]

    if task_of(model) == 'segmentor':
        replaced = [(model, 'encode_decode', logits)]
    else:
        replaced = [(model, 'extract_feat', lambda images, *_: images), (model.head, 'forward', logits)]
    for owner, name, function in replaced:
        owner.__dict__[name] = function
    try:
        yield
    finally:
        for owner, name, _ in replaced:
            del owner.__dict__[name]
