"""Defines LocAtViT: mmpretrain's VisionTransformer with Gaussian-augmented attention (GAug) in every block."""

from __future__ import annotations

from functools import partial
from typing import Any, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.model import ModuleList
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS as PRETRAIN_MODELS
from mmseg.registry import MODELS as SEG_MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmlocat.attention import GaussianKernel
from mmlocat.attention.kernel import Grid, as_grid
from mmlocat.attention.vit.arguments import absolute_indices, check_arguments, check_images
from mmlocat.attention.vit.layers import add_prefix_and_position
from mmlocat.attention.vit.loading import PositionEmbedding
from mmlocat.attention.vit.rope import MixedRope
from mmlocat.checkpoints.names import Translated, translate

from .base import LocAtBase
from .layers import PAIRS, BeforeBlock, LocAtEncoderLayer, PatchPadding, check_pairs


@SEG_MODELS.register_module()
@PRETRAIN_MODELS.register_module()
class LocAtViT(LocAtBase, VisionTransformer):
    """Locality-Attending Vision Transformer.

    Source: *Locality-Attending Vision Transformer* (ICLR 2026, arXiv 2603.04892). Takes the arguments of mmpretrain's
    ``VisionTransformer``, gives its outputs and keeps its checkpoint layout; a block adds ``attn.gaug.log_var`` and
    ``attn.gaug.log_alpha``, 3d + 3 parameters.

    Args:
        arch: 'tiny', 'small' or 'base' as in the paper (192, 384, 768 channels; 3, 6, 12 heads; 12 blocks), another
            name of mmpretrain's ``VisionTransformer`` ('s' is one: 768 channels, 8 blocks), or a dict with embed_dims,
            num_layers, num_heads and feedforward_channels. Defaults to 'base'.
        img_size: Of pretraining, in px, not the crop of a segmentation recipe: it sets the reference grid. ``forward``
            takes any other. Defaults to 224.
        patch_size: Defaults to 16.
        out_indices: Blocks whose outputs are returned, a number or several; negative ones count from the end.
        frozen_stages: Stem and this many blocks are frozen, with what all blocks share (the frequencies of ``rope``);
            0 and -1 freeze nothing. If it is the number of blocks, the whole backbone has no gradient and stays in
            evaluation mode, also after ``train()``.
        layer_cfgs: Additional arguments of the blocks, one dict for all or a sequence.
        gaug: False builds a plain ViT, the baseline arm. Defaults to True.
        with_pos_embed: Whether there is a learned position embedding. Defaults to True.
        num_registers: Register tokens after the class token. Defaults to 0.
        no_embed_class: Whether the position embedding covers the patches alone. Defaults to False.
        rope: 'mixed' rotates queries and keys by learned frequencies (see ``rope.MixedRope``); the paper's RoPE models
            have ``with_pos_embed=False`` and ``layer_scale_init_value=1e-5`` beside it. Defaults to None.
        ref_grid: The pretraining patch grid G of GAug, and of a position embedding that is not square. Defaults to
            what a loaded checkpoint records, else the grid of its position embedding, else that of ``img_size``.
        gaug_init: How GAug starts: 'paper' (variance near 1, alpha near ln 2), or 'identity' (alpha near 0: a trained
            plain ViT's outputs do not change at first). If set, a checkpoint may lack the GAug weights. Defaults to
            None: as in the paper, and a checkpoint must have them.
        attention_backend: See ``mmlocat.attention.gaussian_attention``. Defaults to 'auto'.
        with_cp: Recomputes each block in the backward pass to save memory. Defaults to False.
        allow_partial: Parts of names of weights that a checkpoint may lack, or hold without need. Others are an error.
        adapt_channels: Whether weights for other ``in_channels`` are averaged or repeated. Defaults to False.
        **kwargs: Others of mmpretrain's ``VisionTransformer``: in_channels, drop_rate, drop_path_rate, qkv_bias,
            norm_cfg, final_norm, out_type (see ``forward``), with_cls_token, layer_scale_init_value, patch_cfg, ...

    Raises:
        AssertionError: ``arch`` or ``out_indices`` is invalid; worded as in mmpretrain.
        ValueError: ``img_size``, ``patch_size``, ``drop_path_rate``, ``interpolate_mode``, ``frozen_stages``,
            ``layer_cfgs``, ``num_registers``, ``ref_grid``, ``gaug_init`` or ``attention_backend`` is invalid.
    """

    OUT_TYPES = {*VisionTransformer.OUT_TYPES, PAIRS}
    layer_class = LocAtEncoderLayer
    shared_by_blocks = ('rope', )
    num_cls_tokens = 1
    arch_zoo = {
        **VisionTransformer.arch_zoo,
        'tiny': VisionTransformer.arch_zoo['deit-tiny'],
        'small': VisionTransformer.arch_zoo['deit-small'],
        'base': VisionTransformer.arch_zoo['deit-base'],
    }

    def __init__(self,
                 arch: Union[str, dict] = 'base',
                 img_size: Union[int, Tuple[int, int]] = 224,
                 patch_size: Union[int, Tuple[int, int]] = 16,
                 *,
                 out_indices: Union[int, Sequence[int]] = -1,
                 drop_rate: float = 0.,
                 drop_path_rate: float = 0.,
                 qkv_bias: bool = True,
                 norm_cfg: dict = dict(type='LN', eps=1e-6),
                 layer_scale_init_value: float = 0.,
                 frozen_stages: int = -1,
                 layer_cfgs: Union[dict, Sequence[dict]] = dict(),
                 gaug: bool = True,
                 with_pos_embed: bool = True,
                 num_registers: int = 0,
                 no_embed_class: bool = False,
                 rope: Optional[str] = None,
                 ref_grid: Optional[Union[int, Grid]] = None,
                 gaug_init: Optional[str] = None,
                 attention_backend: str = 'auto',
                 with_cp: bool = False,
                 allow_partial: Sequence[str] = (),
                 adapt_channels: bool = False,
                 **kwargs) -> None:
        check_arguments(img_size, patch_size, drop_path_rate, kwargs.get('interpolate_mode', 'bicubic'))
        check_pairs(kwargs.get('out_type'), kwargs.get('with_cls_token', True))
        settings = self.arch_zoo.get(arch.lower()) if isinstance(arch, str) else arch
        # The parent builds everything but the blocks: it gets ``num_layers`` 0, since the blocks are ours. An
        # invalid arch is passed unchanged, so that the parent's own assertion reports it.
        without_blocks = {**settings, 'num_layers': 0} if settings and 'num_layers' in settings else arch
        super().__init__(
            without_blocks,
            img_size,
            patch_size,
            out_indices=[0],
            drop_rate=drop_rate,
            norm_cfg=norm_cfg,
            **kwargs)
        self.in_channels = self.patch_embed.projection.in_channels
        self.patch_size = tuple(self.patch_embed.projection.stride)
        self.arch_settings = settings
        self.num_layers = settings['num_layers']
        self.out_indices = absolute_indices(out_indices, self.num_layers)
        if frozen_stages > self.num_layers:
            raise ValueError(f'frozen_stages={frozen_stages}, but there are {self.num_layers} blocks to freeze; '
                             f'use {self.num_layers} for the whole backbone')
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp
        self.allow_partial, self.adapt_channels = tuple(allow_partial), adapt_channels
        self.given_ref_grid = None if ref_grid is None else as_grid(ref_grid, 'ref_grid')
        self.gaug_init = gaug_init

        theirs = self.patch_embed.adaptive_padding
        if theirs is not None:
            self.patch_embed.adaptive_padding = PatchPadding(
                theirs.kernel_size, theirs.stride, theirs.dilation, theirs.padding)
        if num_registers < 0:
            raise ValueError(f'num_registers must not be negative, got {num_registers}')
        if self.cls_token is not None and self.num_cls_tokens > 1:
            self.cls_token = nn.Parameter(torch.zeros(1, self.num_cls_tokens, self.embed_dims))
        self.num_extra_tokens = (0 if self.cls_token is None else self.num_cls_tokens) + num_registers
        self.reg_token = nn.Parameter(torch.zeros(1, num_registers, self.embed_dims)) if num_registers else None
        # Number of leading entries of the position embedding that belong to prefix tokens.
        self.num_prefix_positions = 0 if no_embed_class else self.num_extra_tokens
        entries = self.num_prefix_positions + self.patch_resolution[0] * self.patch_resolution[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, entries, self.embed_dims)) if with_pos_embed else None
        self.rope = None
        if rope:
            self.rope = MixedRope(rope, self.num_layers, settings['num_heads'], self.embed_dims)
        kernel = GaussianKernel(self.given_ref_grid or self.patch_resolution) if gaug else None
        if isinstance(layer_cfgs, dict):
            layer_cfgs = [layer_cfgs] * self.num_layers
        if len(layer_cfgs) != self.num_layers:
            raise ValueError(f'layer_cfgs has {len(layer_cfgs)} entries for {self.num_layers} blocks; '
                             'give one dict for all, or one a block')
        # Stochastic depth grows linearly with depth.
        drop_path_rates = np.linspace(0, drop_path_rate, self.num_layers)
        self.layers = ModuleList()
        for rate, layer_cfg in zip(drop_path_rates, layer_cfgs):
            arguments = dict(
                embed_dims=self.embed_dims,
                num_heads=settings['num_heads'],
                feedforward_channels=settings['feedforward_channels'],
                layer_scale_init_value=layer_scale_init_value,
                drop_rate=drop_rate,
                drop_path_rate=float(rate),
                qkv_bias=qkv_bias,
                norm_cfg=norm_cfg,
                kernel=kernel,
                num_prefix_tokens=self.num_extra_tokens,
                attention_backend=attention_backend)
            self.layers.append(self.layer_class(**{**arguments, **layer_cfg}))

        self._init_tokens()
        self.start_gaug()
        self.watch_checkpoints()
        if self.frozen_stages > 0:
            self._freeze()

    def _init_tokens(self) -> None:
        for token in (self.cls_token, self.reg_token):
            if token is not None:
                nn.init.normal_(token, std=1e-6) if self.rope is None else trunc_normal_(token, std=0.02)
        if self.pos_embed is not None:
            trunc_normal_(self.pos_embed, std=0.02)

    def init_weights(self) -> None:
        """Draws the weights as the paper does, unless ``init_cfg`` loads pretrained ones."""
        drawn = self.draws_weights()
        if drawn:
            self._init_tokens()
            self.start_gaug(anew=True)
        super(VisionTransformer, self).init_weights()
        if self.rope is not None and drawn:
            self.rope.start(self.layers)

    def _prepare_pos_embed(self, *args: Any, **kwargs: Any) -> None:
        """Disables MMPretrain's load hook of this name (1.2.0 to 1.3.6), which resizes without antialiasing."""

    def translate(self, weights: Mapping[str, Tensor]) -> Translated:
        """Returns weights of any ViT under this model's names."""
        return translate(weights)

    def has_no_use_for(self, name: str) -> bool:
        """Tells whether a checkpoint's weight has no effect in this model: the final norm or the class token."""
        return (name.startswith('ln1.') and not self.final_norm) or (name == 'cls_token' and self.cls_token is None)

    @property
    def position_embedding(self) -> Optional[PositionEmbedding]:
        """The learned position embedding; None if there is none."""
        if self.pos_embed is None:
            return None
        return PositionEmbedding('pos_embed', self.pos_embed, tuple(self.patch_resolution), self.num_prefix_positions)

    @property
    def blocks(self) -> ModuleList:
        """The transformer blocks, in the order in which they run."""
        return self.layers

    @property
    def num_prefix_tokens(self) -> int:
        """The number of tokens before the patches: class token and registers."""
        return self.num_extra_tokens

    def _freeze(self) -> None:
        """Freezes the stem and the first blocks, or everything if all blocks are frozen: no gradient, no dropout."""
        stem = [self.patch_embed, self.drop_after_pos, self.pre_norm]
        everything = self.frozen_stages == self.num_layers
        for module in [self] if everything else [*stem, *self.layers[:self.frozen_stages]]:
            module.requires_grad_(False)
            nn.Module.train(module, False)  # not eval(), which would call this method again
        for token in (self.cls_token, self.reg_token, self.pos_embed):
            if token is not None:
                token.requires_grad = False
        for name in self.shared_by_blocks:  # trained, they would change what frozen blocks give; so would decay alone
            if getattr(self, name, None) is not None:
                getattr(self, name).requires_grad_(False)

    def train(self, mode: bool = True) -> LocAtViT:
        """Switches between training and evaluation, except for frozen parts, and returns the model."""
        super(BaseBackbone, self).train(mode)
        if self.frozen_stages > 0:
            self._freeze()
        return self

    def forward(self, x: Tensor, before_block: Optional[BeforeBlock] = None) -> Tuple[Any, ...]:
        """Computes features of images.

        Args:
            x: Shape (B, in_channels, height, width), any size; padded right and bottom with zeros to whole patches.
            before_block: Lets a decoder put queries before the patches, see ``models.eomt``. Defaults to None.

        Returns:
            One tensor for each of ``out_indices``, by ``out_type``: 'cls_token' and 'avg_featmap' (B, C), 'featmap'
            (B, C, H, W), 'raw' (B, P + H*W, C); with 'featmap_and_cls_token' a pair, (B, C, H, W) and (B, C).

        Raises:
            ValueError: The images have another shape than (B, in_channels, height, width).
            TypeError: They are not floating point.
        """
        check_images(x, self.in_channels, type(self).__name__)
        x, grid = self.patch_embed(x)
        x = self.pre_norm(self.drop_after_pos(self._add_extra_tokens(x, grid)))
        recompute = self.with_cp and torch.is_grad_enabled()
        outs = []
        for i, layer in enumerate(self.layers):
            x, given = (x, {}) if before_block is None else before_block(i, x, grid)
            run = partial(checkpoint, layer, use_reentrant=False) if recompute else layer
            x = run(x, grid, *self._shared(i, grid), **given)
            if i == self.num_layers - 1 and self.final_norm:
                x = self._normalised(x)
            if i in self.out_indices:
                outs.append(self._format_output(x, grid))
        return tuple(outs)

    def _format_output(self, x: Tensor, grid: Grid) -> Any:
        # MMPretrain's (1.2.0 to 1.3.6). Its maps are permuted views, which every head that reshapes them would copy.
        if self.out_type == PAIRS:
            patches = x[:, self.num_extra_tokens:].transpose(1, 2).contiguous()
            return patches.unflatten(2, tuple(grid)), x[:, :self.num_cls_tokens].mean(1)
        return super()._format_output(x, grid).contiguous()

    def _shared(self, layer: int, grid: Grid) -> tuple:
        """Returns what a block gets from the model beside tokens and grid: rotary angles, if there are any."""
        return () if self.rope is None else (self.rope.angles(layer, grid), )

    def _normalised(self, x: Tensor) -> Tensor:
        return self.ln1(x)

    def _add_extra_tokens(self, patches: Tensor, grid: Grid) -> Tensor:
        """Puts prefix tokens before the patches (B, H*W, C) and adds the position embedding."""
        return add_prefix_and_position(patches, (self.cls_token, self.reg_token), self.pos_embed, self.patch_resolution,
                                       grid, self.num_prefix_positions, self.interpolate_mode)
