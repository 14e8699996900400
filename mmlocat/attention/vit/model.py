"""Defines LocAtViT on PyTorch alone: the model whose weights ``mmlocat.models.LocAtViT`` and a head have together."""

from __future__ import annotations

import math
import re
from typing import Any, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mmlocat.checkpoints.names import Translated, translate

from ..backends import check_backend
from ..gaug import GaussianAttention
from ..kernel import GaussianKernel, Grid, as_grid
from ..refinement import refine_patches
from .arguments import absolute_indices, check_arguments, check_images
from .fitting import FitsCheckpoints
from .layers import add_prefix_and_position, self_attention
from .loading import PositionEmbedding
from .rope import MixedRope

_EPS = 1e-6  # of every LayerNorm
_STD = 0.02
# The layer of a head: of MMPretrain's VisionTransformerClsHead, of its LinearClsHead, timm's and ours.
HEAD = re.compile(r'(^|\.)head\.(?:layers\.head\.|fc\.)?(?=(?:weight|bias)$)')


class _Scale(nn.Module):
    """Layer scale: a factor for each channel."""

    def __init__(self, dims: int, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((dims, ), value))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class _DropPath(nn.Module):
    """Leaves a branch out for some images of a batch while training, and scales it up for the others."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        return x * x.new_empty(x.shape[0], 1, 1).bernoulli_(1 - self.rate) / (1 - self.rate)


class _Attention(nn.Module):
    """Self-attention with GAug; see ``layers.self_attention``."""

    def __init__(self, dims: int, num_heads: int, kernel: Optional[GaussianKernel], num_prefix_tokens: int,
                 backend: str, scale: float) -> None:
        super().__init__()
        self.num_heads, self.num_prefix_tokens = num_heads, num_prefix_tokens
        self.qkv, self.proj = nn.Linear(dims, 3 * dims), nn.Linear(dims, dims)
        self.gaug = None
        if kernel is not None:
            self.gaug = GaussianAttention(dims // num_heads, kernel, num_prefix_tokens, backend)
        self.gamma1 = _Scale(dims, scale) if scale else nn.Identity()

    def forward(self, x: Tensor, grid: Grid, angles: Optional[Tensor]) -> Tensor:
        out = self_attention(self.qkv(x), self.num_heads, self.gaug, grid, num_prefix_tokens=self.num_prefix_tokens,
                             angles=angles)
        return self.gamma1(self.proj(out))


class _FeedForward(nn.Module):
    """The two layers after attention, under the names that they have in mmcv."""

    def __init__(self, dims: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Sequential(nn.Linear(dims, hidden), nn.GELU()), nn.Linear(hidden, dims))
        self.gamma2 = _Scale(dims, scale) if scale else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma2(self.layers(x))


class _Block(nn.Module):
    """A pre-norm block."""

    def __init__(self, attention: _Attention, feedforward: _FeedForward, dims: int, drop_path: float) -> None:
        super().__init__()
        self.ln1, self.attn = nn.LayerNorm(dims, _EPS), attention
        self.ln2, self.ffn = nn.LayerNorm(dims, _EPS), feedforward
        self.drop_path = _DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid, angles: Optional[Tensor]) -> Tensor:
        x = x + self.drop_path(self.attn(self.ln1(x), grid, angles))
        return x + self.drop_path(self.ffn(self.ln2(x)))


class _PatchEmbed(nn.Module):
    """Cuts images into patches, after padding them right and bottom with zeros to whole ones."""

    def __init__(self, channels: int, dims: int, patch_size: Grid) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels, dims, patch_size, patch_size)

    def forward(self, images: Tensor) -> Tuple[Tensor, Grid]:
        rows, columns = ((patch - size % patch) % patch
                         for size, patch in zip(images.shape[2:], self.projection.stride))
        maps = self.projection(pad(images, (0, columns, 0, rows)))
        return maps.flatten(2).transpose(1, 2), tuple(maps.shape[2:])


class VisionTransformer(FitsCheckpoints, nn.Module):
    """LocAtViT, or a plain ViT, with its classification head, on PyTorch alone.

    Source: *Locality-Attending Vision Transformer* (ICLR 2026, arXiv 2603.04892). The names of weights, and arguments
    that both have, are those of ``mmlocat.models.LocAtViT``; the head is ``head``. ``load_state_dict`` takes weights
    of a ViT, as that model does, and refuses what does not fit, such as CLIP's tower: there is no ``pre_norm``.
    ``create_model`` builds it by name.

    Args:
        embed_dims: C.
        num_layers: Blocks.
        num_heads: h, which must divide C.
        feedforward_channels: Hidden channels of a block. Defaults to 4 * C.
        num_classes: Outputs of the head; 0 for a model without one. Defaults to 1000.
        img_size: Image size of pretraining in px, which sets the reference grid; images may have any other.
        patch_size: In px. Defaults to 16.
        in_channels: Of images. Defaults to 3.
        adapt_channels: Whether weights for images of other channels are adapted. Defaults to False.
        gaug: Whether blocks have GAug. Defaults to True.
        prr: Whether tokens are refined (PRR) before the head. Defaults to True.
        with_pos_embed: Whether there is a learned position embedding. Defaults to True.
        num_registers: Register tokens after the class token. Defaults to 0.
        no_embed_class: Whether the position embedding covers the patches alone. Defaults to False.
        rope: 'mixed' for rotary position embedding; the paper's models have ``with_pos_embed=False`` and
            ``layer_scale_init_value=1e-5`` beside it. Defaults to None.
        layer_scale_init_value: First value of the layer scales; 0 for none. Defaults to 0.
        drop_path_rate: Of the last block, in training; that of others grows linearly to it. Defaults to 0.
        ref_grid: The pretraining patch grid, if no checkpoint may set it. Defaults to None.
        gaug_init: 'paper' or 'identity' lets a plain ViT's weights be loaded. Defaults to None.
        attention_backend: See ``gaussian_attention``. Defaults to 'auto'.
        allow_partial: Parts of names of weights that a checkpoint may lack or have too many.

    Raises:
        ValueError: An argument is invalid.
    """

    size_arguments = 'embed_dims, num_layers, num_heads'

    def __init__(self, embed_dims: int, num_layers: int, num_heads: int, feedforward_channels: Optional[int] = None, *,
                 num_classes: int = 1000, img_size: Union[int, Grid] = 224, patch_size: Union[int, Grid] = 16,
                 in_channels: int = 3, adapt_channels: bool = False, gaug: bool = True, prr: bool = True,
                 with_pos_embed: bool = True, num_registers: int = 0, no_embed_class: bool = False,
                 rope: Optional[str] = None, layer_scale_init_value: float = 0., drop_path_rate: float = 0.,
                 ref_grid: Optional[Union[int, Grid]] = None, gaug_init: Optional[str] = None,
                 attention_backend: str = 'auto', allow_partial: Sequence[str] = ()) -> None:
        super().__init__()
        check_arguments(img_size, patch_size, drop_path_rate)
        check_backend(attention_backend)
        for name, value, least in (('embed_dims', embed_dims, 1), ('num_layers', num_layers, 1),
                                   ('num_heads', num_heads, 1), ('num_classes', num_classes, 0),
                                   ('num_registers', num_registers, 0)):
            if type(value) is not int or value < least:  # True is an int too
                raise ValueError(f'{name} must be a whole number from {least}, got {value!r}')
        if embed_dims % num_heads:
            raise ValueError(f'num_heads={num_heads} does not divide embed_dims={embed_dims}')
        self.num_heads, self.prr = num_heads, prr
        self.in_channels, self.adapt_channels = in_channels, adapt_channels
        self.img_size, self.patch_size = as_grid(img_size), as_grid(patch_size)
        # As with padding: a part of a patch is a patch.
        self.patch_resolution = tuple(-(-size // patch) for size, patch in zip(self.img_size, self.patch_size))
        self.allow_partial, self.gaug_init = tuple(allow_partial), gaug_init
        self.given_ref_grid = None if ref_grid is None else as_grid(ref_grid, 'ref_grid')
        self.num_prefix_tokens = 1 + num_registers
        self.num_prefix_positions = 0 if no_embed_class else self.num_prefix_tokens

        self.patch_embed = _PatchEmbed(in_channels, embed_dims, self.patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.reg_token = nn.Parameter(torch.zeros(1, num_registers, embed_dims)) if num_registers else None
        entries = self.num_prefix_positions + math.prod(self.patch_resolution)
        self.pos_embed = nn.Parameter(torch.zeros(1, entries, embed_dims)) if with_pos_embed else None
        self.rope = MixedRope(rope, num_layers, num_heads, embed_dims) if rope else None
        kernel = GaussianKernel(self.given_ref_grid or self.patch_resolution) if gaug else None
        hidden, scale = feedforward_channels or 4 * embed_dims, layer_scale_init_value
        self.layers = nn.ModuleList(
            _Block(_Attention(embed_dims, num_heads, kernel, self.num_prefix_tokens, attention_backend, scale),
                   _FeedForward(embed_dims, hidden, scale), embed_dims,
                   drop_path_rate * number / max(num_layers - 1, 1))
            for number in range(num_layers))
        self.ln1 = nn.LayerNorm(embed_dims, _EPS)
        self.head = nn.Linear(embed_dims, num_classes) if num_classes else nn.Identity()
        self._draw()
        self.start_gaug()
        self.watch_checkpoints()

    def _draw(self) -> None:
        """Draws the weights as the paper does; those of GAug are drawn already."""
        for module in self.modules():
            if type(module) is nn.Linear:  # GAug's layers are of a class of their own
                nn.init.trunc_normal_(module.weight, std=_STD)
                nn.init.zeros_(module.bias)
        for token in (self.cls_token, self.reg_token):
            if token is not None:
                nn.init.normal_(token, std=1e-6) if self.rope is None else nn.init.trunc_normal_(token, std=_STD)
        if self.pos_embed is not None:
            nn.init.trunc_normal_(self.pos_embed, std=_STD)
        if self.rope is not None:
            self.rope.start(self.layers)
            if isinstance(self.head, nn.Linear):
                self.head.weight.data.mul_(0.001)

    def translate(self, weights: Any) -> Translated:
        """Returns weights of any ViT under this model's names, the head of MMPretrain's classifiers included."""
        found = translate(weights)
        return found._replace(state_dict={HEAD.sub(r'\1head.', name): value
                                          for name, value in found.state_dict.items()})

    @property
    def position_embedding(self) -> Optional[PositionEmbedding]:
        """The learned position embedding; None if there is none."""
        if self.pos_embed is None:
            return None
        return PositionEmbedding('pos_embed', self.pos_embed, self.patch_resolution, self.num_prefix_positions)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, in the order in which they run."""
        return self.layers

    def _run(self, images: Tensor, wanted: Sequence[int]) -> Tuple[Sequence[Tensor], Grid]:
        """Returns the tokens (B, P + H*W, C) after the wanted blocks, and the patch grid (H, W)."""
        check_images(images, self.in_channels, type(self).__name__)
        patches, grid = self.patch_embed(images)
        x = add_prefix_and_position(patches, (self.cls_token, self.reg_token), self.pos_embed, self.patch_resolution,
                                    grid, self.num_prefix_positions)
        found = []
        for number, layer in enumerate(self.layers):
            x = layer(x, grid, None if self.rope is None else self.rope.angles(number, grid))
            if number in wanted:
                found.append(x)
        return found, grid

    def forward_features(self, images: Tensor) -> Tensor:
        """Computes the tokens after the final norm, before PRR.

        Args:
            images: Shape (B, in_channels, height, width), of any size, normalised.

        Returns:
            Shape (B, P + H*W, C): the class token, registers, patches row-major.

        Raises:
            ValueError, TypeError: The images have another shape, or are not floating point.
        """
        (tokens, ), _ = self._run(images, [len(self.layers) - 1])
        return self.ln1(tokens)

    def forward_head(self, tokens: Tensor) -> Tensor:
        """Computes logits (B, num_classes) of tokens from ``forward_features``; without a head, the class token."""
        return self.head((refine_patches(tokens, self.num_heads) if self.prr else tokens)[:, 0])

    def forward(self, images: Tensor) -> Tensor:
        """Computes logits (B, num_classes) of images (B, in_channels, height, width); see ``forward_features``."""
        return self.forward_head(self.forward_features(images))

    def feature_maps(self, images: Tensor, out_indices: Union[int, Sequence[int]] = -1) -> Tuple[Tensor, ...]:
        """Computes maps for dense prediction: patches as the blocks leave them, before the final norm and PRR.

        Args:
            images: As for ``forward_features``.
            out_indices: Numbers of blocks; negative ones count from the last. Defaults to -1.

        Returns:
            One map (B, C, H, W) a block, in the order of the blocks.

        Raises:
            AssertionError: There is no such block.
            ValueError: ``out_indices`` does not rise.
        """
        found, grid = self._run(images, absolute_indices(out_indices, len(self.layers)))
        return tuple(tokens[:, self.num_prefix_tokens:].transpose(1, 2).unflatten(2, grid).contiguous()
                     for tokens in found)
