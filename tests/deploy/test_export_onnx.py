"""ONNX files of a classifier, segmentors and a backbone, run by onnxruntime at sizes not seen at export."""

import json
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from mmlocat.attention.vit.position import resize_matrix
from mmlocat.deploy import export as export_module
from mmlocat.deploy.export import compare, export_onnx
from mmlocat.deploy.model import Exportable, PoolingByMatrices
from mmlocat.models import LocAtSwin
from mmlocat.models.backbones.layers import PatchPadding
from mmlocat.models.building import load_model
from tests.conftest import NANO, ROOT
from tests.helpers.random_models import RandomCheckpoints

SECTION = 'Exported and compiled'
TOOL = ROOT / 'tools' / 'deploy' / 'export_onnx.py'


@pytest.fixture(scope='module')
def checkpoint_of(tmp_path_factory):
    return RandomCheckpoints(tmp_path_factory.mktemp('checkpoints'))


@pytest.fixture
def onnx():
    if not hasattr(torch.compiler, 'is_exporting'):
        pytest.skip(f'PyTorch {torch.__version__} cannot record graphs for images of any size')
    pytest.importorskip('onnxscript', reason='the extra mmlocat[deploy] is not installed')
    pytest.importorskip('onnxruntime', reason='the extra mmlocat[deploy] is not installed')
    return pytest.importorskip('onnx', reason='the extra mmlocat[deploy] is not installed')


def run(path):
    """An ONNX file as a function of images, by onnxruntime."""
    import onnxruntime
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return lambda images: [torch.from_numpy(output) for output in session.run(None, {'images': images.numpy()})]


def compare_whole_model(onnx, folder, config, checkpoint, task, figure, blocks):
    result = export_onnx(config, checkpoint, folder / 'model.onnx')
    assert result.task == task and result.outputs == ['logits']
    seen = (2, 3, 25, 35)
    assert len({d.shape for d in result.differences}) == 5 and seen not in {d.shape for d in result.differences}
    largest = max(d.largest for d in result.differences)
    assert largest <= 1e-4 and max(d.scale for d in result.differences) > 1
    name = Path(config.filename).stem
    figure(SECTION, f'ONNX {name}, {blocks}: largest difference of logits at 5 unseen sizes', largest)
    graph = onnx.load(str(folder / 'model.onnx'), load_external_data=False)
    assert [d.dim_param or d.dim_value for d in graph.graph.input[0].type.tensor_type.shape.dim] == [
        'batch', 3, 'height', 'width']
    assert str(ROOT).encode() not in (folder / 'model.onnx').read_bytes() and not graph.graph.node[0].metadata_props
    properties = {entry.key: entry.value for entry in graph.metadata_props}
    reference = dict(LocAtSwin=[4, 4]).get(config.model.backbone.type, [6, 6])  # Swin's Gaussians lie on its windows
    assert properties['mmlocat.task'] == task and json.loads(properties['mmlocat.ref_grid']) == reference
    assert properties['mmlocat.config'] == f'{name}.py' and len(json.loads(properties['mmlocat.mean'])) == 3


@pytest.fixture(scope='module')
def classifier(tmp_path_factory):
    """The folder of an exported classifier, filled by the first test that asks for it."""
    return tmp_path_factory.mktemp('classifier')


def test_a_classifier_at_unseen_sizes(onnx, checkpoint_of, classifier, figure):
    config, checkpoint = checkpoint_of('locatvit-nano_digitscenes')
    compare_whole_model(onnx, classifier, config, checkpoint, 'classifier', figure, 'one block')
    # The file gives the same numbers again; with one weight of GAug changed the comparison sees it.
    model = load_model(config, checkpoint)
    file, exportable = run(classifier / 'model.onnx'), Exportable(model)
    assert len(compare(file, exportable, model)) == 5
    model.backbone.layers[0].attn.gaug.log_alpha.bias.data += 1
    with pytest.raises(RuntimeError, match=r'differs by .* \(allowed .* nothing was written'):
        compare(file, exportable, model)


def test_a_segmentor_at_unseen_sizes(onnx, checkpoint_of, tmp_path, figure):
    compare_whole_model(onnx, tmp_path, *checkpoint_of('locatvit-nano_linear_digitscenes'), 'segmentor', figure,
                        'one block')


@pytest.mark.parametrize('sibling', ['swin', *(pytest.param(name, marks=pytest.mark.soak)
                                               for name in ('swin_of_four_stages', 'jumbo', 'rope'))])
@pytest.mark.parametrize(('name', 'task'), [
    ('locatvit-nano_digitscenes', 'classifier'),
    pytest.param('locatvit-nano_linear_digitscenes', 'segmentor', marks=pytest.mark.soak)])
def test_siblings_at_unseen_sizes(onnx, checkpoint_of, tmp_path, figure, sibling, name, task):
    compare_whole_model(onnx, tmp_path, *checkpoint_of(name, sibling=sibling), task, figure, f'{sibling} instead')


def test_the_recorded_image_has_several_windows_in_every_stage():
    with torch.device('meta'):
        backbone = LocAtSwin('tiny', 224, window_size=7)
    sides = export_module._patches_to_record(backbone)
    assert all(-(-(side + 1) // 2**stage) > 7 for side in sides for stage in range(4))


def test_outputs_of_stages_are_named_so(checkpoint_of):
    model = load_model(*checkpoint_of('locatvit-nano_digitscenes', sibling='swin')).backbone
    model.out_indices = [0, 1]
    assert Exportable(model).outputs == ['stage_0', 'stage_1']


@pytest.mark.soak
@pytest.mark.parametrize(('name', 'task'), [('locatvit-nano_digitscenes', 'classifier'),
                                            ('locatvit-nano_linear_digitscenes', 'segmentor'),
                                            ('locatvit-nano_upernet_digitscenes', 'segmentor'),
                                            ('locatvit-nano_eomt_digitscenes', 'segmentor')])
def test_whole_models_of_four_blocks(onnx, checkpoint_of, tmp_path, figure, name, task):
    compare_whole_model(onnx, tmp_path, *checkpoint_of(name, 4), task, figure, 'four blocks')


def test_the_tool_exports_a_backbone(onnx, checkpoint_of, tmp_path, monkeypatch, capsys, figure):
    _, checkpoint = checkpoint_of('locatvit-nano_linear_digitscenes')
    target = tmp_path / 'new' / 'backbone.onnx'
    arch = ['model.backbone.arch.num_layers=1', 'model.backbone.frozen_stages=1']
    config = ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py'
    monkeypatch.setattr(sys, 'argv', [str(TOOL), str(config), checkpoint, str(target), '--part', 'backbone',
                                      '--cfg-options', *arch])
    runpy.run_path(str(TOOL), run_name='__main__')
    said = capsys.readouterr().out
    assert 'backbone, ' in said and 'outputs block_0; largest difference ' in said
    assert os.listdir(target.parent) == ['backbone.onnx']
    figure(SECTION, 'ONNX LocAtViT backbone, one block: largest difference of features at 5 unseen sizes',
           float(said.split()[-1]))
    monkeypatch.setattr(sys, 'argv', [str(TOOL), str(config), 'nowhere.pth', str(target)])
    with pytest.raises(SystemExit, match='1'):
        runpy.run_path(str(TOOL), run_name='__main__')
    assert 'Error: ' in capsys.readouterr().err


@pytest.mark.parametrize(('length', 'size'), [(14, 32), (14, 14), (14, 5), (6, 1), (3, 50), (14, 13)])
def test_the_resizing_matrix_is_pytorchs_antialiased_resizing(length, size):
    image = torch.randn(1, 2, length, 9, dtype=torch.float64)
    expected = interpolate(image, size=(size, 9), mode='bicubic', antialias=True, align_corners=False)
    actual = resize_matrix(length, size, image) @ image
    assert (actual - expected).abs().max() < 1e-6 and expected.abs().max() > 0.1
    if length == size:
        assert torch.equal(actual, image)


@pytest.mark.parametrize('length', [1, 2, 5, 6, 7, 40])
def test_pooling_by_matrices_is_adaptive_pooling(length):
    x = torch.randn(2, 3, length, 11)
    for size in (1, 2, 3, 6, (None, 4)):
        assert torch.allclose(PoolingByMatrices(size)(x), adaptive_avg_pool2d(x, size), atol=1e-6)


@pytest.mark.parametrize('padding', ['corner', 'same'])
@pytest.mark.parametrize(('kernel', 'stride', 'dilation'), [(4, 4, 1), (7, 4, 1), (3, 2, 2)])
def test_padding_is_mmcvs(padding, kernel, stride, dilation):
    from mmcv.cnn.bricks.transformer import AdaptivePadding
    ours, theirs = (kind(kernel, stride, dilation, padding) for kind in (PatchPadding, AdaptivePadding))
    shapes = set()
    for size in [(1, 1), (4, 8), (5, 7), (9, 16), (20, 3)]:
        x = torch.randn(1, 1, *size)
        assert torch.equal(ours(x), theirs(x))
        shapes.add(ours(x).shape == x.shape)
    assert False in shapes


def test_what_cannot_be_exported_is_refused_and_nothing_written(onnx, checkpoint_of, tmp_path, monkeypatch):
    config, checkpoint = checkpoint_of('locatvit-nano_linear_digitscenes')
    other, _ = checkpoint_of('locatvit-nano_digitscenes')

    def refused(error, match, config=config, checkpoint=checkpoint, target='model.onnx', options=(), **arguments):
        config = config.copy()
        config.merge_from_dict(dict(options))
        with pytest.raises(error, match=match):
            export_onnx(config, checkpoint, tmp_path / target, **arguments)

    refused(ValueError, 'does not end in .onnx', target='model.pth')
    (tmp_path / 'folder.onnx').mkdir()
    refused(ValueError, 'is a folder', target='folder.onnx')
    refused(FileNotFoundError, 'nowhere.pth', checkpoint='nowhere.pth')
    refused(RuntimeError, 'does not fit the model of this config', config=other)
    refused(RuntimeError, 'lacks 4 of', part='backbone', checkpoint=checkpoint_of('vit-nano_linear_digitscenes')[1])
    refused(ValueError, "part='head' is unknown", part='head')
    refused(ValueError, 'align_corners=True', options={'model.decode_head.align_corners': True})
    refused(ValueError, 'ResNet', options={'model.backbone': dict(_delete_=True, type='ResNet', depth=18)})
    monkeypatch.setattr(export_module, '_LIMIT', 1000)
    refused(ValueError, 'more than the 1.5 GB')
    program = SimpleNamespace(model=SimpleNamespace(metadata_props={}))  # recording takes its time
    monkeypatch.setattr(export_module, '_record', lambda exportable: program)
    refused(RuntimeError, 'does not run on images of shape')
    assert os.listdir(tmp_path) == ['folder.onnx']


def test_a_plain_vit_is_exportable_and_what_is_no_model_not(checkpoint_of):
    assert Exportable(load_model(*checkpoint_of('vit-nano_digitscenes'))).task == 'classifier'
    with pytest.raises(ValueError, match='neither a classifier .* nor a segmentor'):
        Exportable(nn.Linear(1, 1))


def test_an_old_pytorch_is_refused(checkpoint_of, tmp_path, monkeypatch):
    monkeypatch.delattr(torch.compiler, 'is_exporting', raising=False)
    config, checkpoint = checkpoint_of('locatvit-nano_linear_digitscenes')
    with pytest.raises(RuntimeError, match='cannot record a graph for images of any size; install a newer'):
        export_onnx(config, checkpoint, tmp_path / 'model.onnx')


def test_a_backend_that_is_no_graph_says_so_on_export():
    if not hasattr(torch.compiler, 'is_exporting'):
        pytest.skip(f'PyTorch {torch.__version__} cannot record graphs for images of any size')
    from mmlocat.models import LocAtViT
    model = LocAtViT(dict(NANO, num_layers=1), 24, 4, attention_backend='streaming').eval()
    with pytest.raises(RuntimeError, match="'streaming' cannot run here: .* these can: dense, sdpa"):
        torch.export.export(model, (torch.randn(1, 3, 24, 24), ), strict=False)
