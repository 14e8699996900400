"""Checks a converted checkpoint: runs it and its source, each in the model that reads it, on the same random images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import torch
from torch import Tensor, nn

from mmlocat.checkpoints.names import to_mmlocat_names
from mmlocat.checkpoints.reader import read_checkpoint
from mmlocat.utils import require_modules, with_progress

from .compare import Difference, difference
from .convert import Conversion

TOLERANCE = 1e-5  # times the largest output, or times 1 if that is smaller


def compare(result: Conversion, staged: Path) -> List[Difference]:
    """Compares tokens after all blocks and the final norm, at the size of pretraining and at a larger, oblong one.

    Args:
        result: What ``convert`` made.
        staged: The written file, or folder for the hub.

    Returns:
        The largest difference at each size.

    Raises:
        RuntimeError: A difference exceeds the tolerance.
    """
    patch, image = result.arguments['patch_size'], result.arguments['img_size']
    sizes = [tuple(image), (image[0] + 2 * patch[0], image[1] + patch[1])]
    own = _locatvit(result.arguments, result.backbone)
    state = read_checkpoint(str(staged)).state_dict
    differences = []
    for size in with_progress(sizes, lambda size: f'comparing outputs at {size[0]} x {size[1]} px'):
        reader, run = _reader(result, state, size)
        images = torch.randn(1, result.arguments['in_channels'], *size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            differences.append(difference(reader, images.shape, own(images)[-1:], [run(images)], TOLERANCE))
    return differences


def _locatvit(arguments: Dict[str, Any], backbone: Dict[str, Tensor]) -> nn.Module:
    from mmlocat.models import LocAtViT
    model = LocAtViT(out_type='raw', **arguments)
    model.load_state_dict(backbone)
    return model.eval()


def _reader(result: Conversion, state: Dict[str, Tensor],
            size: Tuple[int, int]) -> Tuple[str, Callable[[Tensor], Tensor]]:
    """Builds the model that reads the layout, with the written weights."""
    if result.layout == 'mmpretrain':
        return _in_mmpretrain(result.arguments, state, size)
    if result.layout == 'timm' and not result.arguments['gaug']:
        try:
            require_modules(('timm', ), 'timm', '--verify')
        except ImportError:
            pass
        else:
            return _in_timm(result.arguments, state)
    names = to_mmlocat_names(state)
    model = _locatvit(result.arguments, {name: value for name, value in names.items() if name in result.backbone})
    return 'LocAtViT, reading it back', lambda images: model(images)[-1]


def _in_mmpretrain(arguments: Dict[str, Any], state: Dict[str, Tensor], size: Tuple[int, int]) -> Tuple[str, Callable]:
    """Builds MMPretrain's model for one image size, because it resizes position embeddings without antialiasing."""
    from mmpretrain.models.backbones import VisionTransformer

    from mmlocat.models.backbones.position import resize_position_embedding
    prefix = 'backbone.'
    weights = {name[len(prefix):]: value for name, value in state.items() if name.startswith(prefix)}
    patch = arguments['patch_size']
    grids = [tuple(side // width for side, width in zip(sides, patch)) for sides in (arguments['img_size'], size)]
    weights['pos_embed'] = resize_position_embedding(weights['pos_embed'].float(), *grids,
                                                     int(arguments['with_cls_token']))
    own = ('gaug', 'num_registers', 'with_pos_embed', 'no_embed_class')
    model = VisionTransformer(out_type='raw', **{**{k: v for k, v in arguments.items() if k not in own},
                                                 'img_size': size})
    model.load_state_dict(weights, strict=True)
    model.eval()
    return "MMPretrain's VisionTransformer", lambda images: model(images)[-1]


def _in_timm(arguments: Dict[str, Any], state: Dict[str, Tensor]) -> Tuple[str, Callable]:
    from timm.models.vision_transformer import VisionTransformer
    arch = arguments['arch']
    model = VisionTransformer(
        img_size=arguments['img_size'], patch_size=arguments['patch_size'], in_chans=arguments['in_channels'],
        num_classes=0, global_pool='token' if arguments['with_cls_token'] else '', embed_dim=arch['embed_dims'],
        depth=arch['num_layers'], num_heads=arch['num_heads'],
        mlp_ratio=arch['feedforward_channels'] / arch['embed_dims'], qkv_bias=arguments['qkv_bias'],
        init_values=arguments.get('layer_scale_init_value'), class_token=arguments['with_cls_token'],
        pos_embed='learn' if arguments['with_pos_embed'] else 'none', no_embed_class=arguments['no_embed_class'],
        reg_tokens=arguments['num_registers'], pre_norm=arguments['pre_norm'], dynamic_img_size=True)
    model.load_state_dict({name: value for name, value in state.items() if not name.startswith('head.')}, strict=True)
    model.eval()
    return "timm's VisionTransformer", model.forward_features
