"""int8 inference: what it costs in accuracy, measured on a model that the test trains."""

import os
import warnings

import pytest
import torch

from mmlocat.config import load_config
from mmlocat.deploy.quantise import quantise
from mmlocat.models import LocAtViT
from mmlocat.training.cli import training_job
from tests.conftest import NANO, ROOT

SECTION = 'Exported and compiled'
CONFIG = ROOT / 'configs' / 'locatvit-nano_digitscenes.py'


@pytest.fixture
def installed():
    if not hasattr(torch.compiler, 'is_exporting'):
        pytest.skip(f'PyTorch {torch.__version__} cannot record graphs for images of any size')
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name, reason='the extra mmlocat[deploy] is not installed')


def options(root=None, **more):
    data = {f'{name}_dataloader.dataset.data_root': str(root) for name in ('train', 'val', 'test')} if root else {}
    return {**data, **more}


def trained(config, work_dir, changes, epoch):
    training_job([str(config), '--work-dir', str(work_dir), '--cfg-options',
                  *(f'{name}={value}' for name, value in changes.items())])()
    return str(work_dir / f'epoch_{epoch}.pth')


def operators(path):
    import onnx
    return [(node.op_type, ''.join(entry.value for entry in node.metadata_props))
            for node in onnx.load(str(path)).graph.node]


def test_an_int8_classifier_is_small_and_measured(installed, digit_scenes, tmp_path, figure):
    config = tmp_path / 'short.py'
    config.write_text(f"_base_ = '{CONFIG}'\nparam_scheduler = []\noptim_wrapper = dict(optimizer=dict(lr=3e-3))\n")
    # Tested on what it was trained with: in so short a time it learns those images, not to read.
    changes = options(digit_scenes, **{'train_cfg.max_epochs': 8, 'train_cfg.val_interval': 8, 'randomness.seed': 0,
                                       'train_dataloader.batch_size': 16, 'model.backbone.arch.num_layers': 2,
                                       'test_dataloader.dataset.split': 'train'})
    checkpoint = trained(config, tmp_path / 'w', changes, 8)
    before = set(os.listdir(tmp_path))
    variants = quantise(load_config(str(config), changes), checkpoint, tmp_path / 'int8.onnx')
    assert set(os.listdir(tmp_path)) - before == {'int8.onnx'}
    torch32, onnx32, int8 = variants
    assert [variant.name for variant in variants] == ['PyTorch float32', 'ONNX float32', 'ONNX int8']
    assert torch32.metrics['accuracy/top1'] > 15  # of ten classes: it did learn
    # PyTorch tests on the GPU, if there is one, and rounds otherwise there: one image of 160 may fall to another class.
    assert onnx32.metrics == (pytest.approx(torch32.metrics, abs=0.7) if torch.cuda.is_available() else torch32.metrics)
    assert abs(int8.metrics['accuracy/top1'] - torch32.metrics['accuracy/top1']) <= 5
    assert int8.size < 0.8 * onnx32.size and int8.size == (tmp_path / 'int8.onnx').stat().st_size
    kinds = [kind for kind, _ in operators(tmp_path / 'int8.onnx')]
    # qkv, projection and two layers of the FFN in 2 blocks, and the head.
    assert sum(kind in ('MatMulInteger', 'DynamicQuantizeMatMul') for kind in kinds) == 9
    figure(SECTION, 'int8 against float32, short training: top-1 points on its 160 images',
           f'{int8.metrics["accuracy/top1"] - torch32.metrics["accuracy/top1"]:+.1f}')


@pytest.mark.soak
def test_a_segmentor_is_tested_through_its_own_pipeline(installed, digit_scenes, tmp_path):
    """Random weights: what counts is that the graph's logits take the way of the model's."""
    from tests.helpers.random_models import RandomCheckpoints
    config, checkpoint = RandomCheckpoints(tmp_path)('locatvit-nano_linear_digitscenes')
    config.merge_from_dict(options(digit_scenes))
    torch32, onnx32, _ = quantise(config, checkpoint, tmp_path / 'int8.onnx')
    assert torch32.metrics['mIoU'] > 0
    assert onnx32.metrics == pytest.approx(torch32.metrics, abs=0.1)


def test_what_cannot_be_quantised_is_refused(installed, digit_scenes, tmp_path):
    config = load_config(str(CONFIG), options(digit_scenes))
    for match, target, arguments in (('does not end in .onnx', 'int8.pth', {}), ('normalises in the graph', 'a.onnx',
                                                                                dict(pixels=True))):
        with pytest.raises(ValueError, match=match):
            quantise(config, 'nowhere.pth', tmp_path / target, **arguments)
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        quantise(config, 'nowhere.pth', tmp_path / 'a.onnx')
    config.pop('test_dataloader')
    with pytest.raises(ValueError, match='no test_dataloader .*--no-test'):
        quantise(config, 'nowhere.pth', tmp_path / 'a.onnx')
    assert os.listdir(tmp_path) == []


def test_pytorchs_own_dynamic_quantisation_runs():
    """It replaces nn.Linear; the layers of GAug, whose weights are read, it must leave alone."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        from torch.ao.quantization import quantize_dynamic
        model = LocAtViT(dict(NANO, num_layers=2), 24, 4).eval()
        quantised = quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    assert 'quantized' in type(quantised.layers[1].attn.qkv).__module__
    assert isinstance(quantised.layers[1].attn.gaug.log_var, torch.nn.Linear)
    images = torch.randn(2, 3, 30, 24)
    with torch.no_grad():
        expected, actual = model(images)[0], quantised(images)[0]
    assert 0 < (expected - actual).abs().max() < 0.1 < expected.abs().max()


@pytest.mark.soak
def test_the_accuracy_that_int8_costs_on_all_of_digit_scenes(installed, tmp_path, figure):
    checkpoint = trained(CONFIG, tmp_path / 'w', {'train_cfg.max_epochs': 2}, 2)
    torch32, onnx32, int8 = (variant.metrics['accuracy/top1']
                             for variant in quantise(load_config(str(CONFIG)), checkpoint, tmp_path / 'int8.onnx'))
    assert onnx32 == pytest.approx(torch32, abs=0.1) and torch32 > 50
    assert int8 > torch32 - 2
    figure(SECTION, 'DigitScenes test, LocAtViT after 2 epochs: top-1 in float32', f'{torch32:.2f}')
    figure(SECTION, 'DigitScenes test, LocAtViT after 2 epochs: top-1 in int8', f'{int8:.2f}')
