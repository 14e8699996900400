"""Compares predicted masks with those of labels at random points, and matches each of these to one query."""

from __future__ import annotations

from typing import NamedTuple, Sequence, Tuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import grid_sample, softplus


class Targets(NamedTuple):
    """The masks of one label map: one for each of its classes."""

    classes: Tensor  # (K, ), int64
    masks: Tensor  # (K, H, W), bool


def targets_of(labels: Tensor, num_classes: int, ignore_index: int) -> Targets:
    """Returns the mask of every class in a label map; ignored pixels belong to none.

    Args:
        labels: Shape (H, W), classes from 0.
        num_classes: How many there are.
        ignore_index: The label of ignored pixels.

    Raises:
        ValueError: A label is no class.
    """
    classes = labels.unique()
    classes = classes[classes != ignore_index].long()
    wrong = classes[(classes < 0) | (classes >= num_classes)].tolist()
    if wrong:
        raise ValueError(f'label {wrong[0]} in an image, but num_classes={num_classes} of the EoMTHead allows 0 to '
                         f'{num_classes - 1} and ignore_index={ignore_index}; mend the label maps (mmlocat data check '
                         'finds them), or set num_classes and reduce_zero_label')
    return Targets(classes, labels == classes[:, None, None])


def sample(maps: Tensor, points: Tensor) -> Tensor:
    """Reads maps at points, bilinearly; beyond the centres of the outer pixels zeros count too.

    Args:
        maps: Shape (n, H, W), floating point.
        points: Shape (n, P, 2), or (1, P, 2) for all maps: x and y, each from 0 to 1 across the map.

    Returns:
        Shape (n, P).
    """
    places = 2 * points.expand(len(maps), -1, -1)[:, None] - 1
    return grid_sample(maps[:, None], places, align_corners=False)[:, 0, 0]


def uncertain_points(masks: Tensor, number: int, oversampling: float, share: float) -> Tensor:
    """Draws points of which most lie where a mask is undecided, as PointRend does (arXiv 1912.08193).

    Args:
        masks: Logits, shape (n, H, W).
        number: P, points a mask.
        oversampling: How many times as many are drawn at first.
        share: The part of the P points that are the least decided of those; the others are drawn anew.

    Returns:
        Shape (n, P, 2): x and y, from 0 to 1.
    """
    drawn = torch.rand(len(masks), int(number * oversampling), 2, device=masks.device)
    kept = int(number * share)
    undecided = sample(masks, drawn).abs().topk(kept, dim=1, largest=False).indices
    chosen = drawn.gather(1, undecided[..., None].expand(-1, -1, 2))
    return torch.cat([chosen, torch.rand(len(masks), number - kept, 2, device=masks.device)], dim=1)


def pair_costs(class_logits: Tensor, mask_logits: Tensor, classes: Tensor, masks: Tensor,
               weights: Sequence[float]) -> Tensor:
    """Computes what it costs to match each query to each mask of the labels.

    Source: Mask2Former (arXiv 2112.01527): the class's probability, taken negative, binary cross-entropy and dice.

    Args:
        class_logits: Shape (Q, classes + 1), the last for no object.
        mask_logits: At points, shape (Q, P).
        classes: Of the label's masks, shape (K, ).
        masks: They at the same points, from 0 to 1, shape (K, P).
        weights: Of class, cross-entropy and dice.

    Returns:
        Shape (Q, K).
    """
    probability, inside = class_logits.softmax(dim=-1)[:, classes], mask_logits.sigmoid()
    # -y log(sigmoid(x)) - (1 - y) log(1 - sigmoid(x)) = softplus(x) - x y.
    crossed = (softplus(mask_logits).sum(dim=1)[:, None] - mask_logits @ masks.T) / masks.shape[1]
    overlap = 2 * inside @ masks.T + 1
    dice = 1 - overlap / (inside.sum(dim=1)[:, None] + masks.sum(dim=1) + 1)
    return -weights[0] * probability + weights[1] * crossed + weights[2] * dice


def match(costs: Tensor) -> Tuple[Tensor, Tensor]:
    """Finds the cheapest one-to-one matching.

    Args:
        costs: Shape (Q, K). Where one is not finite, the loss will not be either, and says so; here it counts 0.

    Returns:
        Numbers of queries and of masks, min(Q, K) of each.
    """
    queries, masks = linear_sum_assignment(costs.detach().nan_to_num(0., 0., 0.).cpu().numpy())
    return torch.as_tensor(queries, device=costs.device), torch.as_tensor(masks, device=costs.device)
