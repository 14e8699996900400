"""Provides the paper's patch representation refinement (PRR) as a neck."""

from __future__ import annotations

from typing import Sequence, Tuple, Union

from mmengine.model import BaseModule
from mmpretrain.registry import MODELS as PRETRAIN_MODELS
from mmseg.registry import MODELS as SEG_MODELS
from torch import Tensor

from mmlocat.attention import refine_patches

_OUT_TYPES = ('cls_token', 'raw', 'avg_featmap')


@SEG_MODELS.register_module()
@PRETRAIN_MODELS.register_module()
class PatchRefinement(BaseModule):
    """Patch representation refinement (PRR): one parameter-free self-attention before the head.

    It goes between a backbone with ``out_type='raw'`` (tokens) or ``'featmap'`` (maps) and a
    classification head, and gives every patch a gradient. Source: *Locality-Attending Vision
    Transformer* (arXiv 2603.04892), PRR.

    Args:
        num_heads: h, the backbone's number of heads; must divide the channels.
        out_type: What becomes of the refined tokens:

            - 'cls_token': the class tokens joined, shape (B, C) of one, (B, J * C) of J; tokens only.
            - 'raw': all of them, in the shape that came in.
            - 'avg_featmap': the mean over patches, shape (B, C).

            Defaults to 'cls_token'.
        num_extra_tokens: P, prefix tokens left out of 'avg_featmap'; maps have none. Defaults to 1.
        num_cls_tokens: J, class tokens of 'cls_token', which come first. Defaults to 1.
        init_cfg: mmengine's initialisation config. Defaults to None.

    Raises:
        ValueError: ``out_type`` is unknown, ``num_heads`` does not divide the channels, or the input is
            neither (B, N, C) nor (B, C, H, W).
    """

    def __init__(self, num_heads: int, out_type: str = 'cls_token', num_extra_tokens: int = 1, num_cls_tokens: int = 1,
                 init_cfg=None) -> None:
        super().__init__(init_cfg)
        if out_type not in _OUT_TYPES:
            raise ValueError(f'unknown out_type {out_type!r} of PatchRefinement; choose one of {", ".join(_OUT_TYPES)}')
        self.num_heads = num_heads
        self.out_type = out_type
        self.num_extra_tokens = num_extra_tokens
        self.num_cls_tokens = num_cls_tokens

    def forward(self, inputs: Union[Tensor, Sequence[Tensor]]) -> Tuple[Tensor, ...]:
        """Refines each feature.

        Args:
            inputs: Tokens (B, N, C) or maps (B, C, H, W), one or a sequence.

        Returns:
            A tuple as long as ``inputs``; shapes as ``out_type`` says.
        """
        features = (inputs, ) if isinstance(inputs, Tensor) else inputs
        return tuple(self._refine(feature) for feature in features)

    def _refine(self, feature: Tensor) -> Tensor:
        if feature.dim() not in (3, 4):
            raise ValueError('PatchRefinement takes tokens (B, N, C) or maps (B, C, H, W), '
                             f"got {tuple(feature.shape)}; set the backbone's out_type to 'raw' or 'featmap'")
        is_map = feature.dim() == 4
        if is_map and self.out_type == 'cls_token':
            raise ValueError("a feature map has no class token: use out_type='raw' or 'avg_featmap' in PatchRefinement")
        tokens = feature.flatten(2).transpose(1, 2) if is_map else feature
        refined = refine_patches(tokens, self.num_heads)
        if self.out_type == 'cls_token':
            return refined[:, :self.num_cls_tokens].flatten(1)
        if self.out_type == 'avg_featmap':
            return refined[:, 0 if is_map else self.num_extra_tokens:].mean(dim=1)
        return refined.transpose(1, 2).reshape(feature.shape) if is_map else refined
