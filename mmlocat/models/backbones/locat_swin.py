"""Defines LocAtSwin: a Swin Transformer whose windows attend with Gaussians (GAug), as published."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.registry import MODELS as PRETRAIN_MODELS
from mmseg.registry import MODELS as SEG_MODELS
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmlocat.attention.backends import check_backend
from mmlocat.attention.kernel import Grid
from mmlocat.attention.vit.arguments import absolute_indices, check_arguments, check_images
from mmlocat.attention.vit.loading import LoadReport
from mmlocat.checkpoints import swin_names
from mmlocat.checkpoints.names import Translated

from .base import LocAtBase
from .layers import init_linear_layers
from .swin_layers import EPS, PatchMerging, PatchStem, SwinBlock, SwinStage

_OUT_TYPES = ('featmap', 'raw', 'avg_featmap')
_TABLE = 'relative_position_bias_table'


@SEG_MODELS.register_module()
@PRETRAIN_MODELS.register_module()
class LocAtSwin(LocAtBase, BaseModule):
    """Swin Transformer with GAug in every window.

    Source: *Locality-Attending Vision Transformer* (ICLR 2026, arXiv 2603.04892), table of results, LocAtSwin. Its
    parameters have the published names (timm's). Unlike mmpretrain's ``SwinTransformer`` it rolls before it pads,
    merges at the start of a stage, and takes windows and shifts from the size of pretraining, whatever comes in.

    Args:
        arch: 'tiny' (96 channels, depths 2, 2, 6, 2) or 'base' (128; 2, 2, 18, 2), or a dict with embed_dims, depths
            and num_heads. Defaults to 'tiny'.
        img_size: Image size of pretraining in px: windows are ``window_size`` or a stage's size, if that is smaller,
            and a stage of one window never shifts. Any other size is accepted in ``forward``. Defaults to 224.
        patch_size: Defaults to 4.
        in_channels: Defaults to 3.
        window_size: Side of a window in tokens. Defaults to 7.
        out_indices: Stages whose outputs are returned, one number or a sequence; negative numbers count from the last.
            Defaults to -1.
        out_type: 'featmap' (B, C, H, W), 'raw' (B, H*W, C) or 'avg_featmap' (B, C). Defaults to 'featmap'.
        final_norm: Whether the last stage's output is normalised. False builds no such parameters. Defaults to True.
        mlp_ratio: Channels of the hidden layers by those of their blocks. Defaults to 4.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0. Defaults to 0.
        frozen_stages: Stem and this many stages are frozen; 0 freezes the stem, as in mmseg's Swin (in mmpretrain's
            the first stage too), -1 nothing. If it is the number of stages, the whole backbone has no gradient and
            stays in evaluation mode.
        gaug: False builds a plain Swin, the baseline arm. Defaults to True.
        gaug_init: As for ``LocAtViT``.
        attention_backend: See ``mmlocat.attention.gaussian_attention``; not 'streaming', which takes no relative
            positions. Defaults to 'auto'.
        with_cp: Recomputes each block in the backward pass to save memory. Defaults to False.
        allow_partial, adapt_channels: As for ``LocAtViT``.
        init_cfg: mmengine's initialisation config.

    Raises:
        AssertionError: ``arch`` or ``out_indices`` is invalid; worded as in mmpretrain.
        ValueError: Another argument is invalid; the message says which.
    """

    arch_zoo = {
        'tiny': dict(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
        'base': dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    }
    num_prefix_tokens = 0
    grid_source = 'a window of the first stage, from window_size and img_size'
    classifier_head = swin_names.CLASSIFIER_HEAD

    def __init__(self,
                 arch: Union[str, dict] = 'tiny',
                 img_size: Union[int, Tuple[int, int]] = 224,
                 patch_size: int = 4,
                 in_channels: int = 3,
                 *,
                 window_size: int = 7,
                 out_indices: Union[int, Sequence[int]] = -1,
                 out_type: str = 'featmap',
                 final_norm: bool = True,
                 mlp_ratio: float = 4.,
                 drop_path_rate: float = 0.,
                 frozen_stages: int = -1,
                 gaug: bool = True,
                 gaug_init: Optional[str] = None,
                 attention_backend: str = 'auto',
                 with_cp: bool = False,
                 allow_partial: Sequence[str] = (),
                 adapt_channels: bool = False,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        check_arguments(img_size, patch_size, drop_path_rate)
        settings = _settings(self.arch_zoo, arch)
        depths, heads = settings['depths'], settings['num_heads']
        self.num_stages = len(depths)
        _check(self.num_stages, patch_size, window_size, out_type, mlp_ratio, frozen_stages, attention_backend)
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        self.patch_size, self.in_channels = (patch_size, patch_size), in_channels
        self.embed_dims = settings['embed_dims']
        self.window_size, self.gaug_init = window_size, gaug_init
        self.out_indices, self.out_type = absolute_indices(out_indices, self.num_stages), out_type
        self.frozen_stages = frozen_stages
        self.allow_partial, self.adapt_channels = tuple(allow_partial), adapt_channels

        self.patch_embed = PatchStem(in_channels, self.embed_dims, patch_size)
        rates = iter(np.linspace(0, drop_path_rate, sum(depths)).tolist())
        size = tuple(-(-side // patch_size) for side in self.img_size)
        self.layers = nn.ModuleList()
        for stage, (depth, num_heads) in enumerate(zip(depths, heads)):
            channels = self.embed_dims * 2**stage
            size = tuple(-(-side // 2) for side in size) if stage else size
            window = tuple(min(window_size, side) for side in size)
            shift = tuple(window_size // 2 if side > window_size else 0 for side in size)
            blocks = [SwinBlock(channels, num_heads, window, shift if block % 2 else (0, 0), mlp_ratio, next(rates),
                                gaug, attention_backend) for block in range(depth)]
            self.layers.append(SwinStage(PatchMerging(channels // 2) if stage else nn.Identity(), blocks))
            self.layers[-1].with_cp = with_cp
        self.norm = nn.LayerNorm(channels, eps=EPS) if final_norm else None
        self._draw()
        self.start_gaug()
        self.watch_checkpoints()
        self._freeze()

    def _draw(self) -> None:
        """Draws linear layers and tables of relative positions from a truncated normal of 0.02."""
        for block in self.blocks:
            for part in (block.attn.qkv, block.attn.proj, block.mlp):
                init_linear_layers(part)
            trunc_normal_(block.attn.relative_position_bias_table, std=0.02)
        for stage in self.layers[1:]:
            init_linear_layers(stage.downsample)

    @property
    def blocks(self) -> List[SwinBlock]:
        """The blocks of all stages, in the order in which they run."""
        return [block for stage in self.layers for block in stage.blocks]

    def _freeze(self) -> None:
        whole = self.frozen_stages == self.num_stages
        parts = [self] if whole else [self.patch_embed, *self.layers[:self.frozen_stages]]
        for part in parts if self.frozen_stages >= 0 else []:
            part.requires_grad_(False)
            nn.Module.train(part, False)

    def train(self, mode: bool = True) -> LocAtSwin:
        """Switches the mode, except for frozen parts, and returns the model."""
        super().train(mode)
        self._freeze()
        return self

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Computes features of images.

        Args:
            x: Shape (B, in_channels, height, width), any size; padded right and bottom with zeros to whole patches.

        Returns:
            One tensor for each of ``out_indices``, by ``out_type``; stage i has 2^i times ``embed_dims`` channels and a
            stride of 2^i patches.

        Raises:
            ValueError: The images have another shape than (B, in_channels, height, width).
            TypeError: They are not floating point.
        """
        check_images(x, self.in_channels, type(self).__name__)
        x = self.patch_embed(x)
        outs = []
        for number, stage in enumerate(self.layers):
            x = stage(x)
            if number == self.num_stages - 1 and self.norm is not None:
                x = self.norm(x)
            if number in self.out_indices:
                outs.append(self._formatted(x))
        return tuple(outs)

    def _formatted(self, x: Tensor) -> Tensor:
        if self.out_type == 'raw':
            return x.flatten(1, 2)
        return x.permute(0, 3, 1, 2).contiguous() if self.out_type == 'featmap' else x.mean((1, 2))

    def init_weights(self) -> None:
        """Draws the weights as the paper does, unless ``init_cfg`` loads pretrained ones."""
        if self.draws_weights():
            self._draw()
            self.start_gaug(anew=True)
        super().init_weights()

    def translate(self, weights: Mapping[str, Tensor]) -> Translated:
        """Returns the weights of any Swin Transformer under the published names."""
        translated, own = swin_names.translate(weights), self.state_dict()
        for name, value in translated.state_dict.items():
            if name.endswith(_TABLE) and name in own and value.shape[0] != own[name].shape[0]:
                translated.state_dict[name] = _resized_table(value, own[name].shape[0])
        return translated

    def fit_checkpoint(self, state_dict: Dict[str, Any], prefix: str = '',
                       metadata: Optional[Mapping] = None) -> LoadReport:
        """Converts a checkpoint to this model's names and shapes, in place; tables of another window are resized."""
        before = [value.shape for name, value in state_dict.items() if name.endswith(_TABLE)]
        report = super().fit_checkpoint(state_dict, prefix, metadata)
        after = [value.shape for name, value in state_dict.items() if name.endswith(_TABLE)]
        if before != after:
            report.resized.append('tables of relative positions, to windows of another size')
        return report

    def has_no_use_for(self, name: str) -> bool:
        """Tells whether a checkpoint's weight has no effect in this model: the final norm, where it has none."""
        return name.startswith('norm.') and self.norm is None

    def replace_kernel(self, ref_grid: Grid) -> None:
        """Refuses another grid: the Gaussians lie on the windows, which the constructor sets.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(f'LocAtSwin cannot take {ref_grid} as the grid of its Gaussians, which lie on its windows; '
                           'set window_size and img_size')

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """Returns the depth of a parameter for layer-wise learning rates; merging counts to the block after it."""
        name = param_name[len(prefix):]
        if '.downsample.' in name:
            stage = name.split('.')[1]
            return super().get_layer_depth(f'{prefix}layers.{stage}.blocks.0.norm1.weight', prefix)
        return super().get_layer_depth(param_name, prefix)


def _resized_table(table: Tensor, entries: int) -> Tensor:
    """Resizes relative positions (rows * columns, heads) of a square window to another, bicubically."""
    old, new = math.isqrt(len(table)), math.isqrt(entries)
    if old * old != len(table) or new * new != entries:
        raise ValueError(f'{_TABLE} has {len(table)} entries, this model {entries}; only tables of square windows can '
                         'be resized: set window_size and img_size to those of the checkpoint')
    square = table.T.reshape(1, -1, old, old)
    resized = interpolate(square.float(), (new, new), mode='bicubic', align_corners=False)
    return resized.flatten(2)[0].T.to(table.dtype).contiguous()


def _settings(zoo: Dict[str, dict], arch: Union[str, dict]) -> dict:
    """Returns the settings of an arch; the assertions are worded as mmpretrain's."""
    if isinstance(arch, str):
        assert arch.lower() in zoo, f'Arch {arch} is not in default archs {set(zoo)}'
        return zoo[arch.lower()]
    essential = {'embed_dims', 'depths', 'num_heads'}
    assert isinstance(arch, dict) and set(arch) == essential, f'Custom arch needs a dict with keys {essential}'
    if len(arch['depths']) != len(arch['num_heads']):
        raise ValueError(f"arch has {len(arch['depths'])} depths and {len(arch['num_heads'])} num_heads; give one of "
                         'each for every stage')
    for stage, heads in enumerate(arch['num_heads']):
        if arch['embed_dims'] * 2**stage % heads:
            raise ValueError(f"num_heads={heads} does not divide the {arch['embed_dims'] * 2**stage} channels of stage "
                             f'{stage}')
    return arch


def _check(num_stages: int, patch_size: int, window_size: int, out_type: str, mlp_ratio: float, frozen_stages: int,
           attention_backend: str) -> None:
    if not isinstance(patch_size, int):
        raise ValueError(f'patch_size of LocAtSwin must be one whole number, for square patches; got {patch_size!r}')
    if not isinstance(window_size, int) or window_size < 1:
        raise ValueError(f'window_size must be a positive whole number of tokens, got {window_size!r}')
    if out_type not in _OUT_TYPES:
        raise ValueError(f'unknown out_type {out_type!r} of LocAtSwin, which has no class token; choose one of '
                         f'{", ".join(_OUT_TYPES)}')
    if not mlp_ratio > 0:
        raise ValueError(f'mlp_ratio must be positive, got {mlp_ratio}')
    if check_backend(attention_backend) == 'streaming':
        raise ValueError("attention_backend='streaming' cannot add the relative positions of LocAtSwin's windows; "
                         "leave it 'auto', or take 'sdpa'")
    if frozen_stages > num_stages:
        raise ValueError(f'frozen_stages={frozen_stages}, but there are {num_stages} stages to freeze; use '
                         f'{num_stages} for the whole backbone')
