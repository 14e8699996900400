"""Collects attention and Gaussians of one forward pass, by hooks on the model's own modules.

Query and key are those that the model's attention received, variance and alpha those that its ``GaussianAttention``
predicts. Attention weights come from ``gaussian_bias`` and ``attention_weights``, the functions of the dense back-end.
"""

from __future__ import annotations

from contextlib import ExitStack
from inspect import signature
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, nn

from mmlocat.attention import GaussianAttention
from mmlocat.attention.kernel import Grid
from mmlocat.attention.pytorch import at_least_float32
from mmlocat.attention.vit.layers import split_heads
from mmlocat.attention.vit.rope import rotate
from mmlocat.models.backbones.protocol import find_backbone
from mmlocat.models.backbones.swin_layers import PatchMerging, SwinBlock, WindowAttention
from mmlocat.models.building import image_channels

from .blocks import BlockMaps, Maps
from .pictures import normalise_in_pipeline, swap_colours
from .windows import WindowMaps, lay_windows

_SIDE_FACTOR = 3  # pictures whose longer side is at most this multiple of the pretraining size are not shrunk


def _backbone_of(model: nn.Module) -> Tuple[nn.Module, Sequence[nn.Module], int]:
    """Returns a model's backbone, of the LocAt family or MMPretrain's plain ViT; its blocks; P, its prefix tokens."""
    found = find_backbone(model)
    if found is not None:
        blocks, num_prefix_tokens = found.blocks, found.num_prefix_tokens
    else:
        found = getattr(model, 'backbone', model)
        if not isinstance(found, VisionTransformer):
            raise TypeError("attention maps are read from a LocAtViT, a backbone that answers LocAtBackbone, or "
                            f"MMPretrain's VisionTransformer, got {type(found).__name__}; "
                            'name one of them in the config')
        blocks, num_prefix_tokens = found.layers, found.num_extra_tokens
    for block in blocks:
        attention = getattr(block, 'attn', None)
        if _gaug(block) is None and not isinstance(attention, (MultiheadAttention, WindowAttention)):
            raise TypeError(f'attention of {type(found).__name__} cannot be read: a block has neither '
                            f"GaussianAttention nor MMPretrain's MultiheadAttention, but {type(attention).__name__}")
    return found, blocks, num_prefix_tokens


def largest_side(model: nn.Module) -> int:
    """Returns how many px a picture's longer side may have, unless a user says otherwise: three times pretraining's.

    Raises:
        TypeError: The backbone is of another kind.
    """
    return _SIDE_FACTOR * max(_backbone_of(model)[0].img_size)


def _gaug(block: nn.Module) -> Optional[GaussianAttention]:
    return next((module for module in block.modules() if isinstance(module, GaussianAttention)), None)


def _listen(stack: ExitStack, block: nn.Module, seen: Dict[str, Any]) -> None:
    """Registers hooks that write a block's inputs and outputs into ``seen``, under the field names of ``BlockMaps``.

    Tensors keep their first axis: images, which is one, or windows. The hooks are removed when the stack closes.
    """

    def hear_call(module: GaussianAttention, args: tuple, kwargs: dict) -> None:
        call = signature(module.forward).bind(*args, **kwargs).arguments
        query, key, bias = (None if call.get(name) is None else at_least_float32(call[name]).detach()
                            for name in ('query', 'key', 'bias'))
        seen.update(query=query, key=key, bias=bias, kernel=module.kernel,
                    scale=call.get('scale') or query.shape[-1]**-0.5)

    def hear_gaussians(variance: Tensor, alpha: Tensor) -> None:
        seen.update(variance=variance, scales=alpha)

    def hear_qkv(module: nn.Module, args: tuple, output: Tensor) -> None:
        query, key, _ = split_heads(at_least_float32(output), block.attn.num_heads)
        seen.update(query=query, key=key,  # MMPretrain's has no scale of its own
                    scale=getattr(block.attn, 'scale', None) or query.shape[-1]**-0.5)

    def hear_plain(module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
        given = signature(module.forward).bind(*args, **kwargs).arguments
        if isinstance(module, WindowAttention):
            mask = given.get('mask')
            seen['bias'] = at_least_float32(module.position_bias()) + (0 if mask is None else mask.unsqueeze(1))
            return
        seen['bias'] = None if given.get('bias') is None else at_least_float32(given['bias'])
        if given.get('angles') is not None:
            prefix = seen['query'].shape[2] - given['angles'].shape[1]
            seen.update({name: rotate(seen[name], given['angles'], prefix) for name in ('query', 'key')})

    def hear_tokens(module: nn.Module, args: tuple, output: Any) -> None:
        seen['tokens'] = (output if isinstance(output, Tensor) else output[0])[0]

    stack.callback(block.register_forward_hook(hear_tokens).remove)
    gaug = _gaug(block)
    if gaug is None:
        stack.callback(block.attn.qkv.register_forward_hook(hear_qkv).remove)
        stack.callback(block.attn.register_forward_hook(hear_plain, with_kwargs=True).remove)
    else:
        stack.callback(gaug.register_forward_pre_hook(hear_call, with_kwargs=True).remove)
        stack.callback(gaug.listen(hear_gaussians).remove)


def _maps_of(block: nn.Module, seen: Dict[str, Any], stride: int, grid: Grid, patch_size: Tuple[int, int],
             **common: Any) -> BlockMaps:
    """Returns what a block computed; ``grid`` and ``patch_size`` are the image's, ``stride`` that of the block."""
    seen = dict(seen)
    query, bias = seen['query'], seen.get('bias')
    if bias is not None:
        seen['bias'] = bias.expand(*query.shape[:3], query.shape[2])
    if isinstance(block, SwinBlock):
        grid = tuple(seen['tokens'].shape[:2])
        return WindowMaps(grid=grid, patch_size=tuple(stride * side for side in patch_size),
                          windows=lay_windows(block, grid, query.device),
                          **{**seen, 'tokens': seen['tokens'].flatten(0, 1)}, **common)
    if len(query) != 1:
        raise TypeError(f'{type(block).__name__} attends within {len(query)} parts of the image; of windows only those '
                        'of LocAtSwin are drawn')
    common['num_prefix_tokens'] = query.shape[2] - grid[0] * grid[1]  # a decoder's queries are among them
    one = {name: seen[name][0] for name in ('query', 'key', 'bias', 'variance', 'scales')
           if seen.get(name) is not None}
    return BlockMaps(grid=grid, patch_size=patch_size, **{**seen, **one}, **common)


def _strides(backbone: nn.Module, blocks: Sequence[nn.Module]) -> List[int]:
    """Returns for every block how many patches of the image lie along a side of one of its own."""
    found, stride = {}, 1
    for module in backbone.modules():  # in the order in which they run
        stride *= 2 if isinstance(module, PatchMerging) else 1
        found[module] = stride
    return [found[block] for block in blocks]


def prepare_image(model: nn.Module, image: np.ndarray) -> Tensor:
    """Normalises an image as the model's own data preprocessor does, and its test pipeline where that normalises.

    Args:
        model: A classifier of MMPretrain or a segmentor of MMSegmentation.
        image: Shape (height, width, channels), with the values and channels that the model's config loads; RGB if there
            are three.

    Returns:
        Shape (1, channels, height, width), on the model's device.

    Raises:
        ValueError: It is no such image.
    """
    channels = image_channels(model)
    if image.ndim != 3 or image.shape[2] != channels or 0 in image.shape:
        raise ValueError(f'an image has shape (height, width, {channels}), got {image.shape}')
    loaded = normalise_in_pipeline(swap_colours(image), model)
    loaded = torch.from_numpy(np.ascontiguousarray(loaded.transpose(2, 0, 1)))
    return model.data_preprocessor(dict(inputs=[loaded]), training=False)['inputs']


@torch.no_grad()
def collect(model: nn.Module, image: Tensor) -> Maps:
    """Runs a model on one image and returns what its blocks computed.

    Args:
        model: A classifier, a segmentor, or a backbone: any that implements ``LocAtBackbone``, or MMPretrain's
            ``VisionTransformer``.
        image: Normalised, shape (channels, height, width) or (1, channels, height, width), see ``prepare_image``;
            padded by the model to whole patches.

    Raises:
        TypeError: The backbone is of another kind.
        ValueError: There are several images.
    """
    images = image[None] if image.dim() == 3 else image
    if images.dim() != 4 or len(images) != 1:
        raise ValueError(f'one image has shape (channels, height, width) or (1, channels, height, width), got '
                         f'{tuple(image.shape)}')
    backbone, layers, prefix = _backbone_of(model)
    embedding = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))  # cuts into patches
    seen: List[Dict[str, Any]] = [{} for _ in layers]
    grids = []
    with ExitStack() as stack:
        stack.callback(model.train, model.training)
        model.eval()
        for block, place in zip(layers, seen):
            _listen(stack, block, place)
        stack.callback(embedding.register_forward_hook(
            lambda module, args, output: grids.append(tuple(output.shape[-2:]))).remove)
        model.extract_feat(images) if hasattr(model, 'extract_feat') else model(images)
    grid, size = grids[0], tuple(embedding.kernel_size)
    has_class_token = prefix > 0 and getattr(backbone, 'cls_token', True) is not None
    blocks = [_maps_of(block, place, stride, grid, size, index=index, num_prefix_tokens=prefix,
                       has_class_token=has_class_token)
              for index, (block, place, stride) in enumerate(zip(layers, seen, _strides(backbone, layers)))]
    return Maps(blocks, grid, size)
