"""Defines EoMT: a segmentor whose decoder is the last blocks of its own backbone."""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence, Tuple

import torch
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor

from mmlocat.attention.kernel import Grid

from ..backbones import LocAtViT
from .head import EoMTHead, Prediction


@MODELS.register_module()
class EoMT(EncoderDecoder):
    """An encoder-only mask transformer on LocAtViT, or on the plain ViT (``gaug=False``).

    Source: *Your ViT is Secretly an Image Segmentation Model* (CVPR 2025, arXiv 2503.19108). Before the last blocks the
    head's queries join the tokens, between prefix tokens and patches; to GAug they are prefix tokens, so that it has no
    effect on them. Before each of these blocks, and after the last, the queries predict classes and masks from the
    tokens after the final norm. In training all predictions have a loss; a block's masks limit where its queries look,
    as long as the hook ``AnnealMasks`` leaves them on. A trained model uses the last prediction alone.

    Args:
        backbone: A LocAtViT with ``out_type='raw'``, ``out_indices=-1`` and ``final_norm=True``.
        decode_head: An ``EoMTHead``.
        **kwargs: Other arguments of MMSegmentation's ``EncoderDecoder``, but neck and auxiliary_head.

    Raises:
        TypeError: Backbone or head are of another class.
        ValueError: The settings do not fit.
    """

    needed_hooks = ('AnnealMasks', )

    def __init__(self, backbone: dict, decode_head: dict, **kwargs: Any) -> None:
        for name in ('neck', 'auxiliary_head'):
            if kwargs.get(name) is not None:
                raise ValueError(f'EoMT takes no {name}, got {kwargs[name]!r}: its queries read the blocks of the '
                                 f'backbone; set {name}=None')
        super().__init__(backbone, decode_head, **kwargs)
        self._check()

    def _check(self) -> None:
        backbone, head = self.backbone, self.decode_head
        if not isinstance(head, EoMTHead):
            raise TypeError(f"decode_head of EoMT must be an EoMTHead, got {type(head).__name__}; for other heads set "
                            "model.type='EncoderDecoder'")
        if not isinstance(backbone, LocAtViT) or backbone.num_cls_tokens > 1:
            raise TypeError(f'backbone of EoMT must be a LocAtViT (gaug=False for the plain ViT), whose blocks take '
                            f'queries, got {type(backbone).__name__}')
        last = backbone.num_layers - 1
        if backbone.out_type != 'raw' or list(backbone.out_indices) != [last] or not backbone.final_norm:
            raise ValueError('EoMT reads all tokens after the final norm: set out_type=\'raw\', out_indices=-1 and '
                             f'final_norm=True in backbone, got out_type={backbone.out_type!r}, '
                             f'out_indices={backbone.out_indices} and final_norm={backbone.final_norm}')
        if head.num_blocks > backbone.num_layers:
            raise ValueError(f'num_blocks={head.num_blocks} of the decode_head, but the backbone has '
                             f'{backbone.num_layers} blocks; the queries pass its last ones')
        if head.in_channels != backbone.embed_dims:
            raise ValueError(f'in_channels={head.in_channels} of the decode_head, but the backbone has '
                             f'{backbone.embed_dims} channels; set in_channels={backbone.embed_dims}')

    def extract_feat(self, inputs: Tensor) -> Sequence[Prediction]:
        """Returns what the queries predict, the last block's last; in a test only that and what its masks need.

        Args:
            inputs: Images (B, in_channels, height, width), of any size, normalised.
        """
        backbone, head = self.backbone, self.decode_head
        prefix, first = backbone.num_prefix_tokens, backbone.num_layers - head.num_blocks
        predictions: List[Prediction] = []
        grids: List[Grid] = []

        def predict(tokens: Tensor) -> Prediction:
            queries, patches = tokens[:, prefix:prefix + head.num_queries], tokens[:, prefix + head.num_queries:]
            predictions.append(head.predict_masks(queries, patches.transpose(1, 2).unflatten(2, grids[0])))
            return predictions[-1]

        def before_block(number: int, tokens: Tensor, grid: Grid) -> Tuple[Tensor, Mapping[str, Any]]:
            place = number - first
            if place < 0:
                return tokens, {}
            if place == 0:
                grids.append(grid)
                queries = head.queries.expand(tokens.shape[0], -1, -1).to(tokens.dtype)
                tokens = torch.cat([tokens[:, :prefix], queries, tokens[:, prefix:]], dim=1)
            bias = None
            if self.training or head.uses_mask(place):
                masks = predict(backbone.ln1(tokens)).mask_logits
                if head.uses_mask(place):
                    bias = head.attention_bias(masks, place, grid, prefix)
            return tokens, dict(num_queries=head.num_queries, bias=bias)

        predict(backbone(inputs, before_block)[0])
        return predictions

    def try_features(self, inputs: Tensor) -> Sequence[Prediction]:
        """Extracts features as the first iteration of a training does, with all masks on; for checks before it."""
        if self.training:
            self.decode_head.set_mask_shares((1., ) * self.decode_head.num_blocks)
        return self.extract_feat(inputs)

    def _forward(self, inputs: Tensor, data_samples: Any = None) -> Tensor:
        """Returns scores at the size of the images, as a test has them; scores that are resized would be others."""
        return self.decode_head(self.extract_feat(inputs), inputs.shape[2:])
