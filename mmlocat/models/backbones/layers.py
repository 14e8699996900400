"""Defines the layers of LocAtViT: padding, and mmpretrain's block, which receives the patch grid on every call."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional, Tuple

from mmcv.cnn.bricks.transformer import AdaptivePadding
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, nn
from torch.nn.functional import pad

from mmlocat.attention import GaussianAttention, GaussianKernel
from mmlocat.attention.backends import check_backend
from mmlocat.attention.kernel import Grid
from mmlocat.attention.pytorch import is_exporting
from mmlocat.attention.vit.layers import self_attention

# The ``out_type`` that gives, for each block, its map and its class token, as mmseg's DPTHead takes them.
PAIRS = 'featmap_and_cls_token'
# Called before each block with its number, from 0, the tokens (B, N, C) and the patch grid (H, W); returns the tokens
# that enter the block, among which a decoder's queries may stand before the patches, and what else the block gets.
BeforeBlock = Callable[[int, Tensor, Grid], Tuple[Tensor, Mapping[str, Any]]]


def check_pairs(out_type: Optional[str], with_cls_token: bool) -> None:
    """Refuses pairs of map and class token of a model that has no class token.

    Raises:
        ValueError: There is no class token.
    """
    if out_type == PAIRS and not with_cls_token:
        raise ValueError(f"out_type='{PAIRS}' needs a class token, but with_cls_token=False; set it to True, "
                         "or take out_type='featmap' for a head that reads maps alone")


def init_linear_layers(module: nn.Module) -> None:
    """Draws every linear layer below ``module`` as the paper does: truncated normal 0.02, bias 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class PatchPadding(AdaptivePadding):
    """Pads images to whole patches as mmcv does; can be exported for any size: it uses integers and needs no branch."""

    def forward(self, x: Tensor) -> Tensor:
        """Pads images (B, C, H, W) right and bottom; 'same' padding pads all around."""
        lacking = []
        for size, kernel, stride, dilation in zip(x.shape[-2:], self.kernel_size, self.stride, self.dilation):
            patches = (size + stride - 1) // stride  # never divides a negative number, which ONNX rounds differently
            lacking.append(patches * stride - size + max((kernel - 1) * dilation + 1 - stride, 0))
        rows, columns = lacking
        if not is_exporting() and not (rows > 0 or columns > 0):
            return x
        top, left = (rows // 2, columns // 2) if self.padding == 'same' else (0, 0)
        return pad(x, (left, columns - left, top, rows - top))


class LocAtAttention(MultiheadAttention):
    """Multi-head self-attention with GAug.

    Args:
        kernel: The constants of the pretraining grid, or None for plain attention.
        num_prefix_tokens: P, the class and register tokens before the patches.
        attention_backend: See ``gaussian_attention``.
        **kwargs: Arguments of mmpretrain's ``MultiheadAttention``, but qk_scale and v_shortcut.

    Raises:
        ValueError: The number of heads does not divide the channels, or the back-end is unknown.
    """

    def __init__(self, embed_dims: int, num_heads: int, kernel: Optional[GaussianKernel], num_prefix_tokens: int,
                 attention_backend: str, **kwargs) -> None:
        if embed_dims % num_heads:
            raise ValueError(f'num_heads={num_heads} does not divide embed_dims={embed_dims}')
        super().__init__(embed_dims, num_heads, **kwargs)
        check_backend(attention_backend)
        self.num_prefix_tokens = num_prefix_tokens
        self.gaug = None
        if kernel is not None:
            self.gaug = GaussianAttention(self.head_dims, kernel, num_prefix_tokens, attention_backend)

    def forward(self, x: Tensor, grid: Grid, angles: Optional[Tensor] = None, *, num_queries: int = 0,
                bias: Optional[Tensor] = None) -> Tensor:
        """Attends over tokens x (B, N, C), prefix tokens first, of the patch grid (H, W); returns (B, N, C).

        With ``angles`` (h, H*W, d / 2) queries and keys are rotated, after GAug has read the queries. ``num_queries``
        is how many tokens of a decoder stand between these and the patches, to be treated as prefix tokens; ``bias``,
        broadcastable to (B, h, N, N), is added to the logits.
        """
        out = self_attention(self.qkv(x), self.num_heads, self.gaug, grid,
                             num_prefix_tokens=self.num_prefix_tokens + num_queries, angles=angles, bias=bias,
                             dropout_p=self.attn_drop if self.training else 0.0)
        return self.out_drop(self.gamma1(self.proj_drop(self.proj(out))))


class LocAtEncoderLayer(TransformerEncoderLayer):
    """mmpretrain's encoder layer, with its arguments, around ``LocAtAttention``, with those."""

    def __init__(self, embed_dims: int, num_heads: int, feedforward_channels: int, *, kernel: Optional[GaussianKernel],
                 num_prefix_tokens: int, attention_backend: str, **kwargs) -> None:
        super().__init__(embed_dims, num_heads, feedforward_channels, **kwargs)
        self.attn = LocAtAttention(
            embed_dims,
            num_heads,
            kernel,
            num_prefix_tokens,
            attention_backend,
            attn_drop=kwargs.get('attn_drop_rate', 0.),
            proj_drop=kwargs.get('drop_rate', 0.),
            dropout_layer=dict(type='DropPath', drop_prob=kwargs.get('drop_path_rate', 0.)),
            qkv_bias=kwargs.get('qkv_bias', True),
            layer_scale_init_value=kwargs.get('layer_scale_init_value', 0.))

    def init_weights(self) -> None:
        """Draws linear layers as the paper does, truncated normal 0.02 and bias 0, where the parent takes Xavier."""
        super(TransformerEncoderLayer, self).init_weights()
        for part in (self.attn.qkv, self.attn.proj, self.ffn):
            init_linear_layers(part)

    def forward(self, x: Tensor, grid: Grid, angles: Optional[Tensor] = None, **given: Any) -> Tensor:
        """Runs the block on tokens x (B, N, C) of the patch grid (H, W), with rotary angles if there are any.

        ``given`` is what else its attention takes: a decoder's ``num_queries`` and ``bias``.
        """
        x = x + self.attn(self.ln1(x), grid, angles, **given)
        return self.ffn(self.ln2(x), identity=x)
