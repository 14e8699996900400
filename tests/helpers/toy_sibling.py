"""A sibling of LocAtViT as its author would write it: a stem of convolutions, blocks and names of its own."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from mmlocat.attention import GaussianAttention, GaussianKernel
from mmlocat.attention.vit.layers import split_heads
from mmlocat.attention.vit.loading import PositionEmbedding
from mmlocat.attention.vit.position import resize_position_embedding
from mmlocat.models.backbones.base import LocAtBase


class ToyBlock(nn.Module):

    def __init__(self, width, heads, kernel):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * width))
        self.spotlight = None if kernel is None else GaussianAttention(width // heads, kernel, num_prefix_tokens=0)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x, grid):
        qkv = split_heads(self.to_qkv(x), self.heads)
        out = scaled_dot_product_attention(*qkv) if self.spotlight is None else self.spotlight(*qkv, grid)
        x = x + out.transpose(1, 2).reshape(x.shape)
        return x + self.mlp(x)


@MODELS.register_module()
class ToySibling(LocAtBase, BaseModule):
    after_blocks = ('last', )
    num_prefix_tokens = 0

    def __init__(self, width=32, depth=2, heads=2, img_size=24, gaug=True, gaug_init=None, init_cfg=None):
        super().__init__(init_cfg)
        self.in_channels, self.img_size, self.patch_size = 3, (img_size, img_size), (4, 4)
        self.side, self.gaug_init = img_size // 4, gaug_init
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.GELU(), nn.Conv2d(width, width, 3, 2, 1))
        self.where = nn.Parameter(torch.randn(1, self.side**2, width) * 0.02)
        kernel = GaussianKernel(self.side) if gaug else None
        self.blocks = nn.ModuleList(ToyBlock(width, heads, kernel) for _ in range(depth))
        self.last = nn.LayerNorm(width)
        self.start_gaug()
        self.watch_checkpoints()

    @property
    def position_embedding(self):
        return PositionEmbedding('where', self.where, (self.side, self.side), 0)

    def forward(self, images):
        maps = self.stem(images)
        grid = tuple(maps.shape[2:])
        x = maps.flatten(2).transpose(1, 2) + resize_position_embedding(self.where, (self.side, self.side), grid, 0)
        for block in self.blocks:
            x = block(x, grid)
        return (self.last(x).transpose(1, 2).reshape(maps.shape), )
