"""Boundary IoU against a count in loops, on made label maps."""

import math

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS

from mmlocat.config import load_config
from mmlocat.evaluation import BoundaryIoU
from tests.conftest import ROOT

CLASSES = ['a', 'b', 'c']


def belongs(number, labels, label, row, column):
    inside = 0 <= row < label.shape[0] and 0 <= column < label.shape[1]
    return inside and label[row, column] != 255 and labels[row, column] == number


def near(number, labels, label, place, distance):
    """Tells whether a pixel is of the class, and one within d, or the outside of the image, is not."""
    steps = range(-distance, distance + 1)
    return belongs(number, labels, label, *place) and not all(
        belongs(number, labels, label, place[0] + down, place[1] + across) for down in steps for across in steps)


def oracle(pairs, share):
    """Counts pixel by pixel."""
    intersection, union = [0] * len(CLASSES), [0] * len(CLASSES)
    for prediction, label in pairs:
        distance = max(1, round(share * math.hypot(*label.shape)))
        for number in range(len(CLASSES)):
            for place in np.ndindex(*label.shape):
                one, two = (near(number, labels, label, place, distance) for labels in (prediction, label))
                intersection[number] += one and two
                union[number] += one or two
    shares = [one / two for one, two in zip(intersection, union) if two]
    return 100 * sum(shares) / len(shares)


def blobs(rng, side):
    """Returns a label map of two rectangles on background."""
    labels = np.zeros((side, side + 3), np.int64)
    for number in (1, 2):
        top, left = rng.integers(0, side // 2, 2)
        labels[top:top + rng.integers(3, side // 2), left:left + rng.integers(3, side // 2)] = number
    return labels


def samples(pairs):
    return [dict(pred_sem_seg=dict(data=torch.from_numpy(prediction)[None]),
                 gt_sem_seg=dict(data=torch.from_numpy(label)[None])) for prediction, label in pairs]


def score(pairs, **options):
    metric = METRICS.build(dict(type='BoundaryIoU', **options))
    metric.dataset_meta = dict(classes=CLASSES)
    for sample in samples(pairs):  # batches of one: counts are collected over all
        metric.process({}, [sample])
    return metric.evaluate(len(pairs))['mBoundaryIoU']


@pytest.mark.parametrize('share', [0.001, 0.02, 0.12])
def test_it_is_what_loops_count(share):
    rng = np.random.default_rng(0)
    pairs = [(blobs(rng, side), blobs(rng, side)) for side in (10, 14, 14)]
    for _, label in pairs:
        label[2:4, 5:9] = 255
    assert score(pairs, share=share) == pytest.approx(oracle(pairs, share))
    assert score([(np.where(label == 255, 1, label), label) for _, label in pairs], share=share) == 100


def test_a_contour_that_is_off_by_a_pixel_costs_more_than_of_the_whole_area():
    """80 of 1600 pixels of the class are wrong: an IoU of 95 %."""
    label = np.zeros((64, 64), np.int64)
    label[10:50, 10:50] = 1
    assert 40 < score([(np.roll(label, 1, 1), label)]) < 85  # d is 2 px


def test_it_stands_beside_the_iou_of_mmseg_in_the_tests_of_stamp_scenes():
    config = load_config(str(ROOT / 'configs' / 'vit-nano_linear_stampscenes.py'))
    assert [part.type for part in config.test_evaluator] == ['IoUMetric', 'BoundaryIoU']
    assert config.val_evaluator.type == 'IoUMetric'
    evaluator = Evaluator([dict(type='mmseg.IoUMetric'), dict(type='BoundaryIoU')])
    evaluator.dataset_meta = dict(classes=CLASSES)
    label = np.zeros((20, 20), np.int64)
    label[5:15, 5:15] = 1
    evaluator.process(samples([(label, label)]))
    found = evaluator.evaluate(1)
    assert found['mBoundaryIoU'] == found['mIoU'] == 100 and isinstance(evaluator.metrics[1], BoundaryIoU)
