"""Losses of segmentation heads on ignored pixels: 0 and finite, or refused before training."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.structures import SegDataSample

from mmlocat.training.context import TRAIN, Context
from mmlocat.training.loss_check import check_losses

CLASSES, IGNORED = 3, 255


def check(classes=CLASSES, device='cpu', **loss):
    """The remarks about a head with this loss, and the head."""
    init_default_scope('mmseg')
    head = FCNHead(in_channels=4, channels=4, num_convs=0, concat_input=False, num_classes=classes, loss_decode=loss)
    model = torch.nn.Module()
    model.decode_head = head.to(device)
    return check_losses(None, Context(TRAIN, runner=SimpleNamespace(model=model))), head


def loss_of(head, logits, label):
    sample = SegDataSample(gt_sem_seg=PixelData(data=label))
    return head.loss_by_feat(logits, [sample])['loss_ce']


@pytest.mark.parametrize(('weighted', 'average', 'sigmoid'), list(product((False, True), repeat=3)))
def test_every_cross_entropy_is_finite_where_all_is_ignored_or_refused(weighted, average, sigmoid):
    """Whatever this release of MMSegmentation does, a training that starts does not meet the fault."""
    options = dict(type='CrossEntropyLoss', use_sigmoid=sigmoid, avg_non_ignore=average,
                   class_weight=[1., 2., 1.] if weighted else None)
    logits, ignored = torch.randn(1, CLASSES, 4, 4, requires_grad=True), torch.full((1, 4, 4), IGNORED)
    mixed = ignored.clone()
    mixed[:, :2] = 1
    try:
        remarks, head = check(**options)
    except ValueError as error:
        assert weighted and 'model.decode_head.loss_decode: CrossEntropyLoss of MMSegmentation' in str(error)
        assert 'class_weight=[1.0, 2.0, 1.0]' in str(error) and ('avg_non_ignore=True' in str(error)) == average
        head = check(**{**options, 'class_weight': None})[1]
        head.loss_decode.class_weight = options['class_weight']
        with pytest.raises((IndexError, RuntimeError)):  # the fault is there
            loss_of(head, logits, mixed)
        return
    assert remarks == []
    loss = loss_of(head, logits, ignored)
    loss.backward()
    assert loss.item() == 0 and logits.grad.abs().max() == 0
    assert loss_of(head, logits, mixed).item() > 0


def test_a_failing_cross_entropy_is_refused_by_name(monkeypatch):
    def fail(self, logits, label, **others):
        if bool((label == 255).any()):
            raise IndexError('index 255 is out of bounds')
        return logits.mean()

    monkeypatch.setattr(CrossEntropyLoss, 'forward', fail)
    with pytest.raises(ValueError, match=r'fails where a pixel is ignored, with class_weight=\[1.0, 2.0, 1.0\] '
                                         r'\(IndexError: index 255 is out of bounds\); leave it out'):
        check(type='CrossEntropyLoss', class_weight=[1., 2., 1.])


@pytest.mark.parametrize(('classes', 'options', 'message'), [
    (3, dict(class_weight=[1.] * 7), r'with class_weight=\[1.0, .*\] \(RuntimeError: .*\); class_weight has 7 numbers '
                                     'and the head 3 outputs: give one for each'),
    (2, dict(class_weight=[1., 5.], use_sigmoid=True), r'with class_weight=\[1.0, 5.0\] and use_sigmoid=True '
                                                       r'\(RuntimeError: .*\); leave one of them out'),
    (3, dict(class_weight=[1., 5., 1.], use_sigmoid=True), 'with class_weight=.* and use_sigmoid=True .*leave one'),
])
def test_what_fails_on_any_labels_is_not_laid_to_ignored_ones(classes, options, message):
    with pytest.raises(ValueError, match=f'fails on any labels, {message}'):
        check(classes, type='CrossEntropyLoss', **options)


@pytest.mark.parametrize(('weights', 'end'), [([1., 5.], 'has 2 numbers and the head 3 outputs: give one for each'),
                                              ([1., 5., 1.], None)])
def test_weights_from_a_file_are_an_array(weights, end, tmp_path):
    file = tmp_path / 'weights.npy'
    np.save(file, np.array(weights))
    options = dict(type='CrossEntropyLoss', class_weight=str(file))
    if end is None:  # what fails where a pixel is ignored, in whichever release
        options['use_sigmoid'], end = True, 'leave one of them out'
    with pytest.raises(ValueError, match=rf'with class_weight=\[1.0, 5.0.*\].*{end}$'):
        check(**options)


def test_losses_are_tried_on_the_cpu_wherever_the_model_is():
    """On CUDA an index out of bounds would be told of too late; on this device nothing can be computed."""
    assert check(device='meta', type='CrossEntropyLoss')[0] == []
    assert 'LovaszLoss has no value' in check(device='meta', type='LovaszLoss', reduction='none')[0][0]


def test_other_losses_are_remarked_upon():
    remarks, _ = check(type='LovaszLoss', reduction='none')
    said = 'LovaszLoss has no value where every pixel of a batch is ignored (it is nan)'
    assert len(remarks) == 1 and said in remarks[0]
    assert check(type='DiceLoss', use_sigmoid=False)[0] == []
