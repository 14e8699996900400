"""Defines LocAtJumbo: several class tokens that a wide MLP, shared by all blocks, treats as one."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Union

import torch
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.utils import LayerScale
from mmpretrain.registry import MODELS as PRETRAIN_MODELS
from mmseg.registry import MODELS as SEG_MODELS
from torch import Tensor, nn

from mmlocat.attention.kernel import Grid
from mmlocat.checkpoints.names import Translated, shared_once

from .layers import LocAtEncoderLayer, init_linear_layers
from .locat_vit import LocAtViT

_EPS = 1e-5


class JumboLayer(LocAtEncoderLayer):
    """A block whose MLP sees patches alone; the class tokens go, joined to one vector, through the shared MLP.

    Args:
        embed_dims: Channels of a token.
        num_prefix_tokens: J, the class tokens.
        layer_scale_init_value: Start of the three layer scales.
        **kwargs: Other arguments of ``LocAtEncoderLayer``.
    """

    def __init__(self, embed_dims: int, *, num_prefix_tokens: int, layer_scale_init_value: float,
                 **kwargs: Any) -> None:
        super().__init__(embed_dims=embed_dims, num_prefix_tokens=num_prefix_tokens,
                         layer_scale_init_value=layer_scale_init_value, **kwargs)
        joined = num_prefix_tokens * embed_dims
        self.ln3 = nn.LayerNorm(joined, eps=_EPS)
        self.gamma3 = LayerScale(joined, layer_scale_init_value)

    def forward(self, x: Tensor, grid: Grid, jumbo_mlp: nn.Module) -> Tensor:
        """Runs the block on tokens x (B, J + H*W, C), class tokens first."""
        x = x + self.attn(self.ln1(x), grid)
        count = self.attn.num_prefix_tokens
        joined, patches = x[:, :count].flatten(1), x[:, count:]
        joined = joined + self.ffn.dropout_layer(self.gamma3(jumbo_mlp(self.ln3(joined))))
        patches = self.ffn(self.ln2(patches), identity=patches)
        return torch.cat([joined.unflatten(1, (count, -1)), patches], dim=1)


@SEG_MODELS.register_module()
@PRETRAIN_MODELS.register_module()
class LocAtJumbo(LocAtViT):
    """LocAtViT with Jumbo's class tokens.

    Source: Jumbo (arXiv 2502.15021) with GAug and PRR as in the paper's table of results, LocAtJumbo. The position
    embedding covers patches alone, and GAug's prefix is the J class tokens. With ``out_type='cls_token'`` the class
    tokens come out joined, (B, J * C), for the classifier; with ``out_type='featmap_and_cls_token'`` their mean goes
    with each map, because heads such as DPT's take as many channels of both. Checkpoints repeat the shared MLP in every
    block; it is in memory once.

    Args:
        arch: As for ``LocAtViT``.
        num_cls_tokens: J. Defaults to 6.
        jumbo_mlp_ratio: Channels of the shared MLP's hidden layer by those of the joined class tokens. Defaults to 4.
        norm_patches: Whether the final norm has one for patches too, which PRR needs. Defaults to ``gaug``: the
            published models have both or neither.
        layer_scale_init_value: Defaults to 1e-4.
        gaug: False builds the plain Jumbo, the baseline arm. Defaults to True.
        **kwargs: Other arguments of ``LocAtViT``, but num_registers, no_embed_class and rope.

    Raises:
        AssertionError: As ``LocAtViT``.
        ValueError: ``num_cls_tokens`` is below 2, ``layer_scale_init_value`` or ``jumbo_mlp_ratio`` is not positive,
            or as ``LocAtViT``.
    """

    layer_class = JumboLayer
    after_blocks = (*LocAtViT.after_blocks, 'norm_patches')
    shared_by_blocks = ('jumbo_mlp', )

    def __init__(self,
                 arch: Union[str, dict] = 'base',
                 *args: Any,
                 num_cls_tokens: int = 6,
                 jumbo_mlp_ratio: float = 4,
                 norm_patches: Optional[bool] = None,
                 layer_scale_init_value: float = 1e-4,
                 gaug: bool = True,
                 **kwargs: Any) -> None:
        if not isinstance(num_cls_tokens, int) or num_cls_tokens < 2:
            raise ValueError(f'num_cls_tokens of LocAtJumbo must be a whole number from 2, got {num_cls_tokens!r}; '
                             'LocAtViT has one')
        if not layer_scale_init_value > 0:
            raise ValueError(f'layer_scale_init_value of LocAtJumbo must be positive, got {layer_scale_init_value}')
        if not jumbo_mlp_ratio > 0:
            raise ValueError(f'jumbo_mlp_ratio of LocAtJumbo must be positive, got {jumbo_mlp_ratio}')
        given = sorted({'num_registers', 'no_embed_class', 'rope', 'with_cls_token'} & kwargs.keys())
        if given:
            raise ValueError(f'LocAtJumbo takes no {", ".join(given)}: its prefix is its class tokens')
        self.num_cls_tokens = num_cls_tokens  # read by the parent's constructor
        super().__init__(arch, *args, layer_scale_init_value=layer_scale_init_value, gaug=gaug, no_embed_class=True,
                         **kwargs)
        joined = num_cls_tokens * self.embed_dims
        self.jumbo_mlp = nn.Sequential()
        for name, part in (('fc1', nn.Linear(joined, int(joined * jumbo_mlp_ratio))), ('act', nn.GELU()),
                           ('fc2', nn.Linear(int(joined * jumbo_mlp_ratio), joined))):
            self.jumbo_mlp.add_module(name, part)
        init_linear_layers(self.jumbo_mlp)
        self.norm_patches = None
        if self.final_norm:
            self.ln1 = nn.LayerNorm(joined, eps=_EPS)
            if gaug if norm_patches is None else norm_patches:
                self.norm_patches = nn.LayerNorm(self.embed_dims, eps=_EPS)
        if self.frozen_stages > 0:
            self._freeze()

    def _init_tokens(self) -> None:
        super()._init_tokens()
        trunc_normal_(self.cls_token, std=0.02)

    def _shared(self, layer: int, grid: Grid) -> tuple:
        return (self.jumbo_mlp, )

    def _normalised(self, x: Tensor) -> Tensor:
        count = self.num_cls_tokens
        joined, patches = self.ln1(x[:, :count].flatten(1)), x[:, count:]
        patches = patches if self.norm_patches is None else self.norm_patches(patches)
        return torch.cat([joined.unflatten(1, (count, -1)), patches], dim=1)

    def _format_output(self, x: Tensor, grid: Grid) -> Tensor:
        if self.out_type == 'cls_token':
            return x[:, :self.num_cls_tokens].flatten(1).contiguous()
        return super()._format_output(x, grid)

    def translate(self, weights: Mapping[str, Tensor]) -> Translated:
        """Returns the weights of any Jumbo under this model's names; the shared MLP is taken once.

        Raises:
            ValueError: The blocks of a checkpoint have different shared MLPs.
        """
        translated = super().translate(weights)
        return translated._replace(state_dict=shared_once(translated.state_dict))

    def comes_with_gaug(self, name: str) -> bool:
        """Tells whether the plain model lacks a weight: those of GAug, and the norm of patches."""
        return name.startswith('norm_patches.') or super().comes_with_gaug(name)

    def has_no_use_for(self, name: str) -> bool:
        """Tells whether a checkpoint's weight has no effect in this model: a final norm, where it has none."""
        return (name.startswith('norm_patches.') and self.norm_patches is None) or super().has_no_use_for(name)
