"""Computes the loss of predicted classes and masks, which are first matched to those of the labels."""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

import torch
from mmengine.dist import all_reduce
from mmseg.models.losses import DiceLoss
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mmlocat.attention.pytorch import without_autocast

from .matching import Targets, match, pair_costs, sample, uncertain_points


class MaskLoss(nn.Module):
    """Cross-entropy of classes; binary cross-entropy and dice of masks, at random points.

    Source: Mask2Former (arXiv 2112.01527), whose weights and points EoMT keeps.

    Args:
        num_classes: Classes; one more stands for no object.
        class_weight: Weight of the cross-entropy of classes, in the matching too. Defaults to 2.
        mask_weight: Likewise of binary cross-entropy. Defaults to 5.
        dice_weight: Likewise of dice. Defaults to 5.
        no_object_weight: Weight of a query without a match in the mean over queries. Defaults to 0.1.
        num_points: Points at which masks are compared. Defaults to 112 * 112.
        oversampling: See ``uncertain_points``. Defaults to 3.
        uncertain_share: Likewise. Defaults to 0.75.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(self, num_classes: int, class_weight: float = 2., mask_weight: float = 5., dice_weight: float = 5.,
                 no_object_weight: float = 0.1, num_points: int = 12544, oversampling: float = 3.,
                 uncertain_share: float = 0.75) -> None:
        super().__init__()
        for name, value, right, wanted in (
                ('num_points', num_points, isinstance(num_points, int) and num_points >= 1, 'a whole number from 1'),
                ('class_weight', class_weight, class_weight >= 0, '0 or more'),
                ('mask_weight', mask_weight, mask_weight >= 0, '0 or more'),
                ('dice_weight', dice_weight, dice_weight >= 0, '0 or more'),
                ('oversampling', oversampling, oversampling >= 1, 'at least 1'),
                ('uncertain_share', uncertain_share, 0 <= uncertain_share <= 1, 'from 0 to 1'),
                ('no_object_weight', no_object_weight, no_object_weight > 0, 'positive')):
            if not right:
                raise ValueError(f'{name}={value} in loss= of EoMTHead must be {wanted}')
        self.weights = (class_weight, mask_weight, dice_weight)
        self.num_points, self.oversampling, self.uncertain_share = num_points, oversampling, uncertain_share
        self.register_buffer('of_classes', torch.tensor([1.] * num_classes + [no_object_weight]), persistent=False)
        # With these settings it is Mask2Former's: 1 - (2 overlap + 1) / (one area + the other + 1).
        self.dice = DiceLoss(naive_dice=True, eps=1., reduction='sum', ignore_index=None)

    def forward(self, class_logits: Tensor, mask_logits: Tensor, targets: Sequence[Targets]) -> Dict[str, Tensor]:
        """Computes the three losses, weighted.

        Args:
            class_logits: Shape (B, Q, classes + 1).
            mask_logits: Shape (B, Q, h, w); a map of logits covers the same area as one of labels.
            targets: Of each image.

        Returns:
            'loss_class', a mean over queries; 'loss_mask' and 'loss_dice', means over matched masks of all processes.
        """
        with without_autocast(mask_logits):
            class_logits, mask_logits = class_logits.float(), mask_logits.float()
            wanted = torch.full(class_logits.shape[:2], class_logits.shape[2] - 1, device=class_logits.device)
            predicted, true = [], []
            for image, target in enumerate(targets):
                queries, masks = self._match(class_logits[image], mask_logits[image], target)
                wanted[image, queries] = target.classes[masks]
                predicted.append(mask_logits[image, queries])
                true.append(target.masks[masks])
            found = self._compare(torch.cat(predicted), torch.cat(true).float())
            found['loss_class'] = cross_entropy(class_logits.flatten(0, 1), wanted.flatten(), self.of_classes)
        return {name: weight * found[name] for name, weight in zip(('loss_class', 'loss_mask', 'loss_dice'),
                                                                   self.weights)}

    @torch.no_grad()
    def _match(self, class_logits: Tensor, mask_logits: Tensor, target: Targets) -> Tuple[Tensor, Tensor]:
        """Matches the queries of one image to its masks, at points that all of them share."""
        points = torch.rand(1, self.num_points, 2, device=mask_logits.device)
        return match(pair_costs(class_logits, sample(mask_logits, points), target.classes,
                                sample(target.masks.float(), points), self.weights))

    def _compare(self, predicted: Tensor, true: Tensor) -> Dict[str, Tensor]:
        """Compares matched masks (n, h, w) with those of the labels (n, H, W)."""
        with torch.no_grad():
            points = uncertain_points(predicted, self.num_points, self.oversampling, self.uncertain_share)
            true = sample(true, points)
        predicted = sample(predicted, points)
        count = torch.tensor(float(len(true)), device=true.device)
        all_reduce(count, op='mean')
        count = count.clamp(min=1)
        crossed = binary_cross_entropy_with_logits(predicted, true, reduction='sum') / self.num_points
        return dict(loss_mask=crossed / count, loss_dice=self.dice(predicted, true) / count)
