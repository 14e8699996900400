"""Attention and Gaussians of one forward pass: collected from the modules that the model runs.

Nothing is computed a second way: query and key are what ``attn.qkv`` gave, variance and alpha what ``attn.gaug``
predicts, and weights come from ``gaussian_bias`` and ``attention_weights``, which are the model's dense back-end.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional, Tuple

import numpy as np
import torch
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, nn

from mmlocat.attention import refinement_weights
from mmlocat.attention.kernel import Grid, at_least_float32
from mmlocat.models import PatchRefinement
from mmlocat.models.backbones.layers import split_heads

from .blocks import AttentionRow, BlockMaps, Ellipses, Maps, Patch

__all__ = ['AttentionRow', 'BlockMaps', 'Ellipses', 'Maps', 'Patch', 'backbone_of', 'collect', 'collect_batch',
           'prepare_image']


class _Seen:
    """What the hooks of one forward pass have seen."""

    def __init__(self) -> None:
        self.grid: Grid = (0, 0)
        self.qkv: Dict[int, Tensor] = {}
        self.gaug: Dict[int, Tuple[Tensor, Tensor]] = {}
        self.tokens: Dict[int, Tensor] = {}
        self.to_refine: Optional[Tensor] = None


def backbone_of(model: nn.Module) -> VisionTransformer:
    """Returns the ViT of a model, or of a backbone itself.

    Raises:
        TypeError: The backbone is of another kind.
    """
    backbone = getattr(model, 'backbone', model)
    blocks = getattr(backbone, 'layers', ())
    if not isinstance(backbone, VisionTransformer) or not all(
            isinstance(getattr(block, 'attn', None), MultiheadAttention) for block in blocks):
        raise TypeError(f"attention maps are read from a LocAtViT or MMPretrain's VisionTransformer, "
                        f'got {type(backbone).__name__}; name one of them in the config')
    return backbone


def _refinement(model: nn.Module) -> Optional[PatchRefinement]:
    return next((module for module in model.modules() if isinstance(module, PatchRefinement)), None)


@contextmanager
def _listening(model: nn.Module, seen: _Seen) -> Iterator[None]:
    """Writes into ``seen`` what the model's own modules are given and give, in evaluation mode."""
    backbone, refinement = backbone_of(model), _refinement(model)
    was_training = model.training

    def keep(place: Dict[int, object], index: int):
        return lambda module, args, output: place.__setitem__(index, output)

    def keep_gaussians(index: int):
        return lambda variance, alpha: seen.gaug.__setitem__(index, (variance, alpha))

    def keep_grid(module, args, output) -> None:
        seen.grid = tuple(output[1])

    def keep_tokens(module, args) -> None:
        inputs = args[0] if isinstance(args[0], Tensor) else args[0][-1]
        seen.to_refine = inputs if inputs.dim() == 3 else None

    handles = [backbone.patch_embed.register_forward_hook(keep_grid)]
    for index, block in enumerate(backbone.layers):
        handles.append(block.register_forward_hook(keep(seen.tokens, index)))
        handles.append(block.attn.qkv.register_forward_hook(keep(seen.qkv, index)))
        if getattr(block.attn, 'gaug', None) is not None:
            handles.append(block.attn.gaug.listen(keep_gaussians(index)))
    if refinement is not None:
        handles.append(refinement.register_forward_pre_hook(keep_tokens))
    model.eval()  # returns None in MMPretrain's own
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)


def prepare_image(model: nn.Module, image: np.ndarray) -> Tensor:
    """Normalises an image as the model's own data preprocessor does.

    Args:
        model: A classifier of MMPretrain or a segmentor of MMSegmentation.
        image: RGB, shape (height, width, 3), values 0 to 255.

    Returns:
        Shape (1, 3, height, width), on the model's device.

    Raises:
        ValueError: It is no such image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f'an image has shape (height, width, 3), got {image.shape}')
    bgr = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
    return model.data_preprocessor(dict(inputs=[bgr]), training=False)['inputs']


@torch.no_grad()
def collect_batch(model: nn.Module, images: Tensor) -> List[Maps]:
    """Runs a model once and returns what its blocks computed, for every image.

    Args:
        model: A classifier, a segmentor, or a backbone: a ``LocAtViT``, with GAug or without, or MMPretrain's
            ``VisionTransformer``.
        images: Normalised, shape (B, 3, height, width); padded by the model to whole patches.

    Returns:
        One for each image.

    Raises:
        TypeError: The backbone is of another kind.
    """
    seen = _Seen()
    with _listening(model, seen):
        model.extract_feat(images) if hasattr(model, 'extract_feat') else model(images)
    backbone, refinement = backbone_of(model), _refinement(model)
    size = backbone.patch_embed.projection.kernel_size
    prefix = backbone.num_extra_tokens
    refined = None
    if seen.to_refine is not None and backbone.cls_token is not None:
        first = torch.zeros(1, dtype=torch.long, device=images.device)
        rows = refinement_weights(at_least_float32(seen.to_refine), refinement.num_heads, first)[:, :, 0]
        refined = rows[..., prefix:].unflatten(-1, seen.grid).cpu().numpy()  # (B, h, H, W)
    by_image: List[List[BlockMaps]] = [[] for _ in images]
    for index, block in enumerate(backbone.layers):
        attn = block.attn
        query, key, _ = split_heads(at_least_float32(seen.qkv[index]), attn.num_heads)
        variance, scales = seen.gaug.get(index, (None, None))
        kernel = attn.gaug.kernel if index in seen.gaug else None
        scale = getattr(attn, 'scale', None) or attn.head_dims**-0.5  # MMPretrain's has none of its own
        for i, blocks in enumerate(by_image):
            blocks.append(
                BlockMaps(index, seen.grid, size, prefix, scale, query[i], key[i], seen.tokens[index][i], kernel,
                          None if variance is None else variance[i], None if scales is None else scales[i]))
    return [Maps(blocks, seen.grid, size, None if refined is None else refined[i])
            for i, blocks in enumerate(by_image)]


def collect(model: nn.Module, image: Tensor) -> Maps:
    """Runs a model on one image, (3, height, width) or (1, 3, height, width), normalised; see ``collect_batch``.

    Args:
        model: See ``collect_batch``.
        image: See ``prepare_image``.

    Raises:
        TypeError: The backbone is of another kind.
        ValueError: There are several images.
    """
    images = image[None] if image.dim() == 3 else image
    if images.dim() != 4 or len(images) != 1:
        raise ValueError(f'one image has shape (3, height, width) or (1, 3, height, width), got {tuple(image.shape)}')
    return collect_batch(model, images)[0]
