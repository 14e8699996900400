"""Checks exported and converted models: compares their outputs with those of the model that they were made from."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor, nn

from mmlocat.checkpoints.kinds import translate_any
from mmlocat.checkpoints.reader import read_checkpoint

_TOLERANCE = 1e-5  # of conversions, times the largest output, or times 1 if that is smaller


class Difference(NamedTuple):
    """The largest difference of two models' outputs for the same images."""

    shape: Tuple[int, ...]  # of the images
    largest: float  # absolute difference of any output
    scale: float  # the largest output
    reader: str  # what computed the outputs that were compared


def difference(reader: str, shape: Sequence[int], expected: Sequence[Tensor], actual: Sequence[Tensor],
               tolerance: float) -> Difference:
    """Returns the largest difference of outputs from those expected, which ``reader`` computed for images of a shape.

    Raises:
        RuntimeError: It is more than ``tolerance`` times the largest output, or times 1 if that is smaller.
    """
    shape = tuple(shape)
    shapes = [[tuple(output.shape) for output in outputs] for outputs in (expected, actual)]
    if shapes[0] != shapes[1]:
        raise RuntimeError(f'{reader} gives shapes {shapes[1]} for images of shape {shape}, the model {shapes[0]}; '
                           'nothing was written')
    largest = max((one - other).abs().max().item() for one, other in zip(expected, actual))
    scale = max(one.abs().max().item() for one in expected)
    allowed = tolerance * max(1.0, scale)
    if not largest <= allowed:
        raise RuntimeError(f'{reader} differs by {largest:.2g} on images of shape {shape} (allowed {allowed:.2g}); '
                           'nothing was written')
    return Difference(shape, largest, scale, reader)


def verify(layout: str, kind: str, arguments: Dict[str, Any], backbone: Dict[str, Tensor],
           written: Path) -> Difference:
    """Compares a converted file with the weights that it was made from, at the size of pretraining.

    Compared are tokens after all blocks and the final norm. The model that the layout is for computes them from the
    file: MMPretrain's or, where it is installed, timm's for a plain ViT or Swin. Otherwise the class ``kind`` reads the
    file back.

    Raises:
        RuntimeError: The difference exceeds the tolerance.
    """
    shape = (1, arguments['in_channels'], *arguments['img_size'])
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    state = read_checkpoint(str(written)).state_dict
    others = kind != 'LocAtJumbo' and not arguments['gaug'] and 'rope' not in arguments
    theirs = 'SwinTransformer' if kind == 'LocAtSwin' else 'VisionTransformer'
    if layout == 'mmpretrain':
        reader, run = f"MMPretrain's {theirs}", _in_mmpretrain(kind, arguments, state)
    elif layout == 'timm' and others and find_spec('timm'):
        reader, run = f"timm's {theirs}", (_swin_in_timm if kind == 'LocAtSwin' else _in_timm)(arguments, state)
    else:
        names = translate_any(state)[1].state_dict
        reader = f'{kind}, reading it back'
        run = _in_mmlocat(kind, arguments, {name: value for name, value in names.items() if name in backbone})
    with torch.no_grad():
        expected, actual = _in_mmlocat(kind, arguments, backbone)(images), run(images)
    return difference(reader, shape, [expected], [actual], _TOLERANCE)


def _in_mmlocat(kind: str, arguments: Dict[str, Any], weights: Dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    from mmlocat import models
    model = _loaded(getattr(models, kind)(out_type='raw', **arguments), weights)
    return lambda images: model(images)[-1]


def _in_mmpretrain(kind: str, arguments: Dict[str, Any], state: Dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    from mmpretrain.models import backbones
    prefix = 'backbone.'
    weights = {name[len(prefix):]: value for name, value in state.items() if name.startswith(prefix)}
    if kind == 'LocAtSwin':
        own = ('gaug', 'final_norm', 'mlp_ratio')
        blocks = dict(ffn_ratio=arguments['mlp_ratio'])
        swin = _loaded(backbones.SwinTransformer(
            out_indices=(len(arguments['arch']['depths']) - 1, ), stage_cfgs=dict(block_cfgs=blocks),
            **{name: value for name, value in arguments.items() if name not in own}), weights)
        return lambda images: swin(images)[-1].flatten(2).transpose(1, 2)
    own = ('gaug', 'num_registers', 'with_pos_embed', 'no_embed_class')
    model = _loaded(backbones.VisionTransformer(
        out_type='raw', **{name: value for name, value in arguments.items() if name not in own}), weights)
    return lambda images: model(images)[-1]


def _in_timm(arguments: Dict[str, Any], state: Dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    from timm.models.vision_transformer import VisionTransformer
    arch = arguments['arch']
    model = VisionTransformer(
        img_size=arguments['img_size'], patch_size=arguments['patch_size'], in_chans=arguments['in_channels'],
        num_classes=0, global_pool='token' if arguments['with_cls_token'] else '', embed_dim=arch['embed_dims'],
        depth=arch['num_layers'], num_heads=arch['num_heads'],
        mlp_ratio=arch['feedforward_channels'] / arch['embed_dims'], qkv_bias=arguments['qkv_bias'],
        init_values=arguments.get('layer_scale_init_value'), class_token=arguments['with_cls_token'],
        pos_embed='learn' if arguments['with_pos_embed'] else 'none', no_embed_class=arguments['no_embed_class'],
        reg_tokens=arguments['num_registers'], pre_norm=arguments['pre_norm'])
    return _loaded(model, {name: value for name, value in state.items()
                           if not name.startswith('head.')}).forward_features


def _swin_in_timm(arguments: Dict[str, Any], state: Dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    from timm.models.swin_transformer import SwinTransformer
    arch = arguments['arch']
    model = SwinTransformer(
        img_size=arguments['img_size'], patch_size=arguments['patch_size'], in_chans=arguments['in_channels'],
        num_classes=0, embed_dim=arch['embed_dims'], depths=arch['depths'], num_heads=arch['num_heads'],
        window_size=arguments['window_size'], mlp_ratio=arguments['mlp_ratio'])
    _loaded(model, {name: value for name, value in state.items() if not name.startswith('head.')})
    return lambda images: model.forward_features(images).flatten(1, 2)


def _loaded(model: nn.Module, weights: Dict[str, Tensor]) -> nn.Module:
    # No layout holds the tables that say where in its table of relative positions a Swin looks; the model makes them.
    tables = {name: value for name, value in model.state_dict().items() if name.endswith('relative_position_index')}
    model.load_state_dict({**tables, **weights}, strict=True)
    model.eval()
    return model
