"""Defines EoMT's queries, what predicts a class and a mask from each, and how masks make a segmentation."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmpretrain.models.utils import LayerNorm2d
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import DiceLoss
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmlocat.attention.kernel import Grid

from .loss import MaskLoss
from .matching import targets_of


class Prediction(NamedTuple):
    """What the queries predict at one depth."""

    class_logits: Tensor  # (B, Q, classes + 1), the last for no object
    mask_logits: Tensor  # (B, Q, h, w)


class _Upscaling(nn.Sequential):
    """Doubles the resolution of maps (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2),
            nn.GELU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels, bias=False),
            LayerNorm2d(channels, eps=1e-6))


@MODELS.register_module()
class EoMTHead(BaseDecodeHead):
    """The queries of an encoder-only mask transformer; ``EoMT`` runs them through the last blocks of the backbone.

    Source: *Your ViT is Secretly an Image Segmentation Model* (CVPR 2025, arXiv 2503.19108). A query's class comes from
    a linear layer, its mask from the product of an MLP of the query with the patches, at 2 ** num_upscalings times
    their resolution.

    Args:
        in_channels: Channels of the backbone.
        num_classes: Classes.
        num_queries: Q, the largest number of masks. Defaults to 100.
        num_blocks: Blocks that the queries pass, the last ones of the backbone. Defaults to 4.
        num_upscalings: How many times the resolution of patches is doubled. Defaults to 2: a stride of 4 for patches
            of 16 px.
        loss: Arguments of ``MaskLoss``. Defaults to its own.
        ignore_index: The label of pixels that belong to no mask. Defaults to 255.
        align_corners: As in MMSegmentation's heads. Defaults to False.

    Attributes:
        mask_shares: For each of these blocks, the share of queries that attend within their masks alone: 0, but in a
            training, in which the hook ``AnnealMasks`` lowers it from 1 to 0.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(self, in_channels: int, num_classes: int, *, num_queries: int = 100, num_blocks: int = 4,
                 num_upscalings: int = 2, loss: Optional[dict] = None, ignore_index: int = 255,
                 align_corners: bool = False) -> None:
        for name, value, least in (('num_classes', num_classes, 2), ('num_queries', num_queries, 1),
                                   ('num_blocks', num_blocks, 1), ('num_upscalings', num_upscalings, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f'{name} of EoMTHead must be a whole number from {least}, got {value!r}')
        super().__init__(in_channels, in_channels, num_classes=num_classes, out_channels=num_classes, dropout_ratio=0,
                         ignore_index=ignore_index, align_corners=align_corners, init_cfg=None,
                         loss_decode=dict(type=DiceLoss))  # any: it is not used, and the default one warns
        del self.conv_seg, self.loss_decode  # the parent's classifier of pixels and its loss
        self.num_queries, self.num_blocks = num_queries, num_blocks
        self.queries = nn.Parameter(torch.randn(num_queries, in_channels))
        self.classifier = nn.Linear(in_channels, num_classes + 1)
        self.mask_mlp = nn.Sequential(
            nn.Linear(in_channels, in_channels), nn.GELU(), nn.Linear(in_channels, in_channels), nn.GELU(),
            nn.Linear(in_channels, in_channels))
        self.upscale = nn.Sequential(*[_Upscaling(in_channels) for _ in range(num_upscalings)])
        self.mask_loss = MaskLoss(num_classes, **(loss or {}))
        # The buffer is for checkpoints; the numbers that decide, without waiting for a GPU, are in ``mask_shares``.
        self.register_buffer('stored_shares', torch.zeros(num_blocks))
        self.mask_shares: Tuple[float, ...] = (0., ) * num_blocks

    def set_mask_shares(self, shares: Sequence[float]) -> None:
        """Sets ``mask_shares``, one number from 0 to 1 for each block that the queries pass."""
        if tuple(shares) != self.mask_shares:
            self.mask_shares = tuple(shares)
            self.stored_shares.copy_(torch.tensor(self.mask_shares))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        stored = state_dict.get(f'{prefix}stored_shares')
        if stored is not None:
            self.mask_shares = tuple(stored.tolist())

    def uses_mask(self, place: int) -> bool:
        """Tells whether queries attend within their masks in the block of this place, from 0 for the first of theirs.

        A test draws nothing: it uses the masks of a block until they are gone for half of the queries.
        """
        return self.mask_shares[place] > (0. if self.training else 0.5)

    def predict_masks(self, queries: Tensor, patches: Tensor) -> Prediction:
        """Predicts classes and masks.

        Args:
            queries: After the final norm, shape (B, Q, C).
            patches: Likewise, as a map (B, C, H, W).
        """
        masks = torch.einsum('bqc,bchw->bqhw', self.mask_mlp(queries), self.upscale(patches))
        return Prediction(self.classifier(queries), masks)

    @torch.no_grad()
    def attention_bias(self, mask_logits: Tensor, place: int, grid: Grid, num_prefix_tokens: int) -> Tensor:
        """Keeps queries from patches outside of their masks.

        Args:
            mask_logits: Shape (B, Q, h, w).
            place: Of the block, from 0 for the first that the queries pass. In training, a share of queries that are
                drawn at random attends within its masks; the others are free.
            grid: The patch grid (H, W).
            num_prefix_tokens: P, tokens before the queries; these see all of them, and each other.

        Returns:
            Shape (B, 1, N, N) with N = P + Q + H*W: -inf where a query must not look, else 0.
        """
        inside = interpolate(mask_logits.float(), grid, mode='bilinear', align_corners=False).flatten(2) > 0
        if self.training:
            inside = inside | (torch.rand(*inside.shape[:2], 1, device=inside.device) >= self.mask_shares[place])
        first, last = num_prefix_tokens, num_prefix_tokens + self.num_queries
        size = last + inside.shape[2]
        bias = mask_logits.new_zeros(inside.shape[0], 1, size, size)
        bias[:, 0, first:last, last:].masked_fill_(~inside, float('-inf'))
        return bias

    def forward(self, inputs: Sequence[Prediction], size: Optional[Sequence[int]] = None) -> Tensor:
        """Returns a score for each class and pixel from the last of the predictions.

        Args:
            inputs: Predictions, of which the last one counts.
            size: (height, width) of the result; logits of masks are resized to it. Defaults to that of the masks.

        Returns:
            Shape (B, classes, height, width): sums over queries of probabilities.
        """
        class_logits, mask_logits = inputs[-1]
        if size is not None:
            mask_logits = interpolate(mask_logits, size, mode='bilinear', align_corners=self.align_corners)
        return self._combine(class_logits, mask_logits)

    def loss_by_feat(self, seg_logits: Sequence[Prediction], batch_data_samples: List[Any]) -> Dict[str, Tensor]:
        """Computes the losses of all depths, summed; see ``MaskLoss``."""
        targets = [targets_of(labels[0], self.num_classes, self.ignore_index)
                   for labels in self._stack_batch_gt(batch_data_samples)]
        losses = [self.mask_loss(*prediction, targets) for prediction in seg_logits]
        return {name: sum(loss[name] for loss in losses) for name in losses[0]}

    def loss(self, inputs: Sequence[Prediction], batch_data_samples: List[Any], train_cfg: Any) -> Dict[str, Tensor]:
        """Computes the losses of predictions; see ``loss_by_feat``."""
        return self.loss_by_feat(inputs, batch_data_samples)

    def predict(self, inputs: Sequence[Prediction], batch_img_metas: List[dict], test_cfg: Any) -> Tensor:
        """Returns a score for each class and pixel of the images; logits of masks are resized, not scores."""
        class_logits, mask_logits = inputs[-1]
        return self._combine(class_logits, self.predict_by_feat(mask_logits, batch_img_metas))

    def _combine(self, class_logits: Tensor, mask_logits: Tensor) -> Tensor:
        """Sums over queries the probability of a class times that of lying in the mask."""
        return torch.einsum('bqc,bqhw->bchw', class_logits.softmax(dim=-1)[..., :-1], mask_logits.sigmoid())
