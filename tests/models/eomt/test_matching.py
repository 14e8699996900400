"""Matching and loss are what the equations say, computed by loops in float64."""

from itertools import permutations
from math import exp, floor, log

import pytest
import torch

from mmlocat.models.eomt.loss import MaskLoss
from mmlocat.models.eomt.matching import Targets, match, pair_costs, sample, targets_of, uncertain_points


def read(plane, x, y):
    """Reads a map, a list of rows, at a point, x and y from 0 to 1; zeros lie around it."""
    height, width = len(plane), len(plane[0])
    column, row = x * width - 0.5, y * height - 0.5
    total = 0.
    for i in (floor(row), floor(row) + 1):
        for j in (floor(column), floor(column) + 1):
            if 0 <= i < height and 0 <= j < width:
                total += plane[i][j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


def sigmoid(x):
    return 1 / (1 + exp(-x))


def cross(x, y):
    return sum(-b * log(sigmoid(a)) - (1 - b) * log(1 - sigmoid(a)) for a, b in zip(x, y)) / len(x)


def dice(x, y):
    x = [sigmoid(a) for a in x]
    return 1 - (2 * sum(a * b for a, b in zip(x, y)) + 1) / (sum(x) + sum(y) + 1)


def probabilities(logits):
    powers = [exp(value) for value in logits]
    return [power / sum(powers) for power in powers]


def cost(logits, mask, label, true, weights):
    return -weights[0] * probabilities(logits)[label] + weights[1] * cross(mask, true) + weights[2] * dice(mask, true)


def cheapest(costs):
    """Returns for each mask of the labels its query, the best of all ways, at most as many masks as queries."""
    queries, masks = len(costs), len(costs[0])
    return min(permutations(range(queries), masks), key=lambda way: sum(costs[q][k] for k, q in enumerate(way)))


def test_costs_of_pairs():
    logits, masks, true = torch.randn(4, 6), 3 * torch.randn(4, 9), torch.rand(3, 9)
    labels, weights = [5, 0, 2], (2., 5., 3.)
    found = pair_costs(logits, masks, torch.tensor(labels), true, weights)
    expected = [[cost(logits[q].tolist(), masks[q].tolist(), labels[k], true[k].tolist(), weights) for k in range(3)]
                for q in range(4)]
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('shape', [(5, 3), (4, 4), (4, 1), (3, 0)])
def test_matching_is_the_cheapest_of_all(shape):
    costs = torch.randn(shape)
    queries, masks = match(costs)
    way = cheapest(costs.tolist())
    assert dict(zip(masks.tolist(), queries.tolist())) == dict(enumerate(way))


def test_more_masks_than_queries_leave_the_dearest_unmatched():
    queries, masks = match(torch.tensor([[3., 1., 2.], [1., 5., 9.]]))
    assert queries.tolist() == [0, 1] and masks.tolist() == [1, 0]


def test_maps_are_read_bilinearly_x_first():
    plane, points = torch.randn(2, 3, 5), torch.rand(2, 7, 2)
    expected = [[read(plane[n].tolist(), *points[n, p].tolist()) for p in range(7)] for n in range(2)]
    torch.testing.assert_close(sample(plane, points), torch.tensor(expected))
    corner = torch.tensor([[[0.9, 0.5 / 3]]])  # the centre of the last pixel of the first row
    torch.testing.assert_close(sample(plane, corner)[:, 0], plane[:, 0, 4])


def test_most_points_lie_where_masks_are_undecided():
    ramp = torch.linspace(-10, 10, 64).expand(2, 32, 64)  # undecided in the middle
    points = uncertain_points(ramp, 400, 3., 0.75)
    away = (points[..., 0] - 0.5).abs()
    assert points.shape == (2, 400, 2) and points.min() >= 0 and points.max() <= 1
    assert away[:, :300].max() < 0.27 and away[:, :300].mean() < 0.08  # a quarter of 1,200: some 0.125 to both sides
    assert 0.2 < away[:, 300:].mean() < 0.3  # anywhere


def test_targets_are_the_classes_that_occur():
    labels = torch.tensor([[3, 255, 3], [0, 0, 255]])
    found = targets_of(labels, 4, 255)
    assert found.classes.tolist() == [0, 3]
    assert found.masks.tolist() == [[[False] * 3, [True, True, False]], [[True, False, True], [False] * 3]]
    assert targets_of(torch.full((2, 3), 255), 4, 255).masks.shape == (0, 2, 3)
    with pytest.raises(ValueError, match='label 4 in an image, but num_classes=4 .* allows 0 to 3'):
        targets_of(labels + 1, 4, 0)


def example(points=50):
    torch.manual_seed(3)
    maps = [torch.randint(0, 3, (6, 8)), torch.randint(0, 2, (6, 8)), torch.full((6, 8), 255)]
    class_logits, mask_logits = torch.randn(3, 4, 4), 2 * torch.randn(3, 4, 3, 4)
    loss = MaskLoss(3, 2., 5., 4., 0.1, num_points=points, oversampling=1., uncertain_share=0.)
    return loss, class_logits.requires_grad_(), mask_logits.requires_grad_(), [targets_of(m, 3, 255) for m in maps]


def test_the_loss_is_the_sum_that_the_equations_say():
    loss, class_logits, mask_logits, targets = example()
    torch.manual_seed(4)
    found = loss(class_logits, mask_logits, targets)
    torch.manual_seed(4)  # the same points once more, in the order in which they are drawn
    shared = [torch.rand(1, 50, 2)[0].tolist() for _ in targets]
    pairs, wanted = [], []
    for image, target in enumerate(targets):
        masks = mask_logits[image].tolist()
        predicted = [[read(mask, *point) for point in shared[image]] for mask in masks]
        true = [[read(mask, *point) for point in shared[image]] for mask in target.masks.double().tolist()]
        costs = [[cost(logits, predicted[q], label, true[k], (2., 5., 4.))
                  for k, label in enumerate(target.classes.tolist())]
                 for q, logits in enumerate(class_logits[image].tolist())]
        way = cheapest(costs)
        pairs += sorted((image, q, k) for k, q in enumerate(way))
        wanted.append([dict(zip(way, target.classes.tolist())).get(q, 3) for q in range(4)])
    torch.rand(len(pairs), 50, 2)
    points = torch.rand(len(pairs), 50, 2).tolist()
    crossed = diced = 0.
    for (image, q, k), places in zip(pairs, points):
        x = [read(mask_logits[image, q].tolist(), *place) for place in places]
        y = [read(targets[image].masks[k].double().tolist(), *place) for place in places]
        crossed, diced = crossed + cross(x, y), diced + dice(x, y)
    weight = [0.1 if label == 3 else 1. for labels in wanted for label in labels]
    surprise = [-log(probabilities(logits)[label]) for labels, image in zip(wanted, class_logits.tolist())
                for label, logits in zip(labels, image)]
    expected = dict(
        loss_mask=5 * crossed / len(pairs), loss_dice=4 * diced / len(pairs),
        loss_class=2 * sum(w * s for w, s in zip(weight, surprise)) / sum(weight))
    assert len(pairs) == 5 and {name: value.item() for name, value in found.items()} == pytest.approx(expected, 1e-5)


def test_an_image_without_labels_has_a_loss_of_classes_and_gradients_everywhere():
    loss, class_logits, mask_logits, targets = example()
    found = loss(class_logits[2:], mask_logits[2:], targets[2:])
    assert found['loss_mask'] == found['loss_dice'] == 0 and found['loss_class'] > 0
    sum(found.values()).backward()
    assert mask_logits.grad is not None and not mask_logits.grad.any() and class_logits.grad[2].any()


def test_what_is_not_finite_reaches_the_loss():
    loss, class_logits, mask_logits, targets = example()
    assert loss(class_logits, mask_logits * float('nan'), targets)['loss_mask'].isnan()


def test_half_precision_is_left_to_the_model():
    loss, class_logits, mask_logits, targets = example()
    halves = class_logits.bfloat16(), mask_logits.bfloat16()
    torch.manual_seed(4)
    with torch.autocast('cpu', torch.bfloat16):
        found = loss(*halves, targets)
    torch.manual_seed(4)
    expected = loss(*(half.float() for half in halves), targets)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize('wrong', ['num_points=0', 'num_points=10.5', 'oversampling=0.5', 'uncertain_share=2',
                                   'no_object_weight=0', 'class_weight=-1', 'mask_weight=-0.5', 'dice_weight=-2'])
def test_wrong_numbers(wrong):
    name, value = wrong.split('=')
    with pytest.raises(ValueError, match=f'{wrong} in loss= of EoMTHead must be'):
        MaskLoss(3, **{name: float(value) if '.' in value else int(value)})


def test_a_mask_of_labels_is_read_as_large_as_one_that_is_predicted():
    """A perfect prediction at half the resolution costs next to nothing inside."""
    labels = torch.zeros(8, 8, dtype=torch.long)
    labels[:, 4:] = 1
    right = torch.full((1, 2, 4, 4), -30.)
    right[0, 0, :, :2] = right[0, 1, :, 2:] = 30.
    loss = MaskLoss(2, num_points=500, uncertain_share=0.)
    logits = torch.tensor([[[9., 0, 0], [0, 9., 0]]])
    targets = [targets_of(labels, 2, 255)]
    swapped = [Targets(targets[0].classes.flip(0), targets[0].masks)]
    assert loss(logits, right, targets)['loss_dice'] < 1.0 < loss(logits, right, swapped)['loss_class']
