"""Heads that give several outputs: exported under their own names, or refused in one line."""

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmlocat.deploy.export import compare, export_onnx
from mmlocat.deploy.model import Exportable, named_outputs
from mmlocat.models.building import build_model
from tests.deploy.test_export_onnx import onnx, run  # noqa: F401

BACKBONE = dict(type='LocAtViT', arch=dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=48),
                img_size=24, patch_size=4, in_channels=2)
LINEAR = dict(type='LinearClsHead', in_channels=24, loss=dict(type='CrossEntropyLoss'))


def classifier(**tasks):
    heads = {name: dict(LINEAR, num_classes=count) for name, count in tasks.items()}
    head = dict(type='MultiTaskHead', task_heads=heads)
    return Config(dict(default_scope='mmpretrain', model=dict(
        type='ImageClassifier', backbone=dict(BACKBONE, out_type='cls_token'), head=head)))


class Head(nn.Module):
    """Gives whatever a function makes of the class token."""

    def __init__(self, give):
        super().__init__()
        self.give = give

    def forward(self, feats):
        return self.give(feats[-1])


def test_several_tasks_are_compared_one_by_one():
    model = build_model(classifier(colour=3, shape=2))
    exportable = Exportable(model)
    assert exportable.outputs == ['colour', 'shape']
    assert [found.largest < 1e-5 for found in compare(exportable, exportable, model)] == [True] * 5
    with torch.no_grad(), pytest.raises(RuntimeError, match='differs by'):
        compare(lambda images: [exportable(images)[0], exportable(images)[1] + 1], exportable, model)


@pytest.mark.soak
def test_several_tasks_are_exported_under_their_names(onnx, tmp_path):  # noqa: F811
    config = classifier(colour=3, shape=2)
    model = build_model(config)
    torch.save(model.state_dict(), tmp_path / 'x.pth')
    result = export_onnx(config, str(tmp_path / 'x.pth'), tmp_path / 'x.onnx')
    assert result.outputs == ['colour', 'shape'] and len(result.differences) == 5
    graph = onnx.load(str(tmp_path / 'x.onnx'))
    assert [output.name for output in graph.graph.output] == ['colour', 'shape']
    assert 'mmlocat.channel_order' not in {entry.key for entry in graph.metadata_props}  # two channels are no RGB
    images = torch.randn(3, 2, 17, 30)
    with torch.no_grad():
        expected = model(images, mode='tensor')
    for name, values in zip(result.outputs, run(tmp_path / 'x.onnx')(images)):
        assert (values - expected[name]).abs().max() < 1e-5, name


@pytest.mark.parametrize(('give', 'names'), [
    (lambda x: x, ['logits']),
    (lambda x: [x, x + 1], ['logits_0', 'logits_1']),
    (lambda x: dict(a=x, b=dict(c=x, d=(x, x))), ['a', 'b.c', 'b.d_0', 'b.d_1']),
])
def test_names(give, names):
    model = build_model(classifier(a=2))
    model.head = Head(give)
    exportable, images = Exportable(model), torch.randn(2, 2, 24, 24)
    assert exportable.outputs == names
    with torch.no_grad():
        outputs = exportable(images)
        expected = named_outputs(model(images, mode='tensor'))
    assert len(outputs) == len(names) and all(map(torch.equal, outputs, expected.values()))


def test_what_is_no_tensor_is_refused():
    model = build_model(classifier(a=2))
    for give, match in (
            (lambda x: dict(a=x, b='text'), "Head gives str as 'b', which is no tensor; export the model's backbone"),
            (lambda x: x.nothing, r'Head does not run on images alone \(AttributeError: .*--part backbone')):
        model.head = Head(give)
        with pytest.raises(ValueError, match=match):
            Exportable(model)
    segmentor = build_model(Config(dict(default_scope='mmseg', model=dict(
        type='EncoderDecoder', backbone=dict(BACKBONE, out_type='featmap'), decode_head=dict(
            type='FCNHead', in_channels=24, in_index=0, channels=24, num_convs=0, num_classes=2, concat_input=False)))))
    assert Exportable(segmentor).outputs == ['logits']
    segmentor.decode_head.forward = lambda feats: [feats[-1], feats[-1]]
    with pytest.raises(ValueError, match=r'FCNHead does not run on images alone \(.*--part backbone'):
        Exportable(segmentor)
