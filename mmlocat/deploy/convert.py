"""Converts a checkpoint of the family to one of four layouts; whatever is unclear is an error, which leaves no file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Set, Tuple, Union

import torch
from torch import Tensor

from mmlocat import __version__
from mmlocat.checkpoints.architecture import infer_arch
from mmlocat.checkpoints.errors import CheckpointError
from mmlocat.checkpoints.kinds import translate_any
from mmlocat.checkpoints.names import bare, to_classifier_names, to_timm_names
from mmlocat.checkpoints.reader import Checkpoint, read_checkpoint
from mmlocat.checkpoints.swin_names import CLASSIFIER_HEAD as SWIN_HEAD
from mmlocat.checkpoints.swin_names import output_norms, to_openmmlab
from mmlocat.deploy import LAYOUTS
from mmlocat.utils import check_folder, sha256, staged

from .verify import Difference
from .verify import verify as compare

_VIT = ('layers.', 'patch_embed.', 'cls_token', 'reg_token', 'pos_embed', 'pre_norm.', 'ln1.', 'ln2.', 'rope.')
# Beginnings of the names of each class's weights.
_BACKBONE = {
    'LocAtViT': _VIT,
    'LocAtJumbo': (*_VIT, 'jumbo_mlp.', 'norm_patches.'),
    'LocAtSwin': ('layers.', 'patch_embed.', 'norm.'),
}
# What begins the names of the head in MMPretrain's classifiers around each.
_HEAD = {'LocAtViT': 'head.layers.head.', 'LocAtJumbo': 'head.layers.head.', 'LocAtSwin': SWIN_HEAD}
_SEGMENTOR = ('decode_head.', 'auxiliary_head.', 'neck.')


class Conversion(NamedTuple):
    """What was converted: weights of backbone and heads under this package's names, their class and its arguments."""

    source: Checkpoint
    kind: str  # 'LocAtViT', 'LocAtJumbo' or 'LocAtSwin', plain or with GAug
    backbone: Dict[str, Tensor]
    heads: Dict[str, Tensor]
    arguments: Dict[str, Any]
    grid: Tuple[int, int]
    difference: Optional[Difference]  # from the source's outputs; None where that was not asked for


def convert(source: str, target: Union[str, Path], layout: str, *, trust_pickle: bool = False,
            backbone_only: bool = False, num_heads: Optional[int] = None, ref_grid: Optional[Tuple[int, int]] = None,
            prr: bool = True, verify: bool = False) -> Conversion:
    """Writes the weights of a checkpoint in another layout; every tensor keeps its bits.

    Args:
        source: As ``read_checkpoint`` takes it.
        target: A .pth, .pt or .safetensors file; for 'hub' a new folder.
        layout: 'mmlocat' (a whole model's names, read by this package), 'mmpretrain' (MMPretrain's, for plain ViTs and
            Swins only), 'timm' (names of timm and of the published weights), or 'hub' (the same, with a config.json).
        trust_pickle: Whether a pickle may hold anything; it can run code.
        backbone_only: Whether to leave heads out.
        num_heads: The number of heads, needed where the weights do not show it.
        ref_grid: The pretraining grid (H, W), needed where neither weights nor record show it.
        prr: The value of ``prr`` in the hub's config; PRR has no weights that would show it.
        verify: Whether to compare outputs with the source's before the file appears; see ``verify.verify``.

    Returns:
        What was converted.

    Raises:
        CheckpointError: The source cannot be read, holds weights that the layout has no place for, or does not show
            which model it belongs to.
        FileNotFoundError: The source does not exist.
        RuntimeError: The outputs differ.
        ValueError: The target cannot be written under this name.
    """
    target = Path(target)
    if layout not in LAYOUTS:
        raise ValueError(f'unknown layout {layout!r}; choose one of {", ".join(LAYOUTS)}')
    if layout == 'hub' and target.exists():
        raise ValueError(f'{target} exists; for the hub layout give a folder that does not yet')
    if layout != 'hub' and target.suffix not in ('.safetensors', '.pth', '.pt'):
        raise ValueError(f'{target} must end in .safetensors, .pth, .pt, which says how it is stored')
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise ValueError(f'{target} is the source itself; give another target')
    check_folder('the folder of the target', target.parent)
    checkpoint = read_checkpoint(source, trust_pickle=trust_pickle)
    recorded = checkpoint.ref_grid
    if ref_grid and recorded and tuple(ref_grid) != recorded:
        raise CheckpointError(f'{source} records a reference grid of {recorded}, --ref-grid says {tuple(ref_grid)}; '
                              'leave the option out')
    try:
        kind, translated = translate_any(checkpoint.state_dict)
        checkpoint, weights = replace(checkpoint, format=translated.format), translated.state_dict
        backbone = {name: value for name, value in weights.items() if name.startswith(_BACKBONE[kind])}
        arguments = infer_arch(backbone, num_heads=num_heads, grid=ref_grid or recorded)
    except (CheckpointError, ValueError) as error:
        raise CheckpointError(f'{source}: {error}') from error
    heads = {} if backbone_only else {name: value for name, value in weights.items() if name not in backbone}
    norms = output_norms(bare(checkpoint.state_dict).state_dict) if kind == 'LocAtSwin' and not backbone_only else ()
    if norms:
        raise CheckpointError(f'{source} has norms of several outputs ({norms[0]}, ...), for which LocAtSwin has no '
                              'place; --backbone-only leaves them out')
    written = _in_layout(source, layout, kind, backbone, heads, arguments)
    if kind == 'LocAtSwin':  # its Gaussians lie on its windows, whatever the grid of patches was
        shown, recorded = (arguments['window_size'], ) * 2, None
        if ref_grid and tuple(ref_grid) != shown:
            raise CheckpointError(f'{source} has windows of {shown}, --ref-grid says {tuple(ref_grid)}; leave the '
                                  'option out')
    else:
        shown = tuple(image // patch for image, patch in zip(arguments['img_size'], arguments['patch_size']))
    grid = tuple(ref_grid or recorded or shown)
    if layout == 'hub' and arguments['gaug'] and grid != shown:
        raise CheckpointError(f'{source} has a reference grid of {grid} and a position embedding of {shown}; the '
                              "published implementation's config.json has no word for that, so use another layout")
    record = dict(layout=layout, ref_grid=list(grid), source=Path(source).name,
                  source_sha256=sha256(checkpoint.path) if checkpoint.path else '', version=__version__)
    with staged(target) as place:
        if layout == 'hub':
            place.mkdir()
            _write(place / 'model.safetensors', written, record)
            config = json.dumps(_hub_config(arguments, written, prr), indent=2)
            (place / 'config.json').write_text(config + '\n', encoding='utf-8')
        else:
            _write(place, written, record)
        difference = compare(layout, kind, arguments, backbone, place) if verify else None
    return Conversion(checkpoint, kind, backbone, heads, arguments, grid, difference)


def _in_layout(source: str, layout: str, kind: str, backbone: Dict[str, Tensor], heads: Dict[str, Tensor],
               arguments: Dict[str, Any]) -> Dict[str, Tensor]:
    """Returns the weights under the names of a layout; those that it has no place for are an error."""
    segmentor = {name: value for name, value in heads.items() if name.startswith(_SEGMENTOR)}
    places = [beginning + part for beginning in ('head.', _HEAD[kind]) for part in ('weight', 'bias')]
    classifier = {name: value for name, value in heads.items() if name in places}
    strange = [name for name in heads if name not in segmentor and name not in classifier]
    if strange:
        raise CheckpointError(f'{source} has {len(strange)} weights that are neither of the backbone nor of a head: '
                              f'{", ".join(strange[:3])}{" ..." if len(strange) > 3 else ""}; --backbone-only leaves '
                              'all of them out')
    if segmentor and layout != 'mmlocat':
        raise CheckpointError(f'{source} is of a segmentor, and {layout} has no place for its heads; use --to mmlocat, '
                              'or --backbone-only, which leaves them out')
    if layout == 'mmpretrain':
        theirs, lacking = _not_in_mmpretrain(kind, backbone, arguments)
        if lacking:
            raise CheckpointError(f"{source} has {lacking}, for which MMPretrain's {theirs} has no place; use "
                                  '--to mmlocat')
    unpublished = 'a rotary position embedding' if 'rope' in arguments else kind
    if layout == 'hub' and unpublished != 'LocAtViT':
        raise CheckpointError(f'{source}: --to hub has no config.json for {unpublished}; use --to timm')
    if kind == 'LocAtSwin':
        if layout == 'mmpretrain':
            backbone = to_openmmlab(backbone)
        if layout == 'timm':
            return {**backbone, **to_classifier_names(classifier, _HEAD[kind])}
    elif layout in ('timm', 'hub'):
        return to_timm_names({**backbone, **classifier})
    return {**to_classifier_names({**backbone, **classifier}, _HEAD[kind]), **segmentor}


def _not_in_mmpretrain(kind: str, backbone: Dict[str, Tensor], arguments: Dict[str, Any]) -> Tuple[str, str]:
    """Returns the name of MMPretrain's class, and what of these weights it has no place for, '' for nothing."""
    found = [('GAug weights', arguments['gaug'])]
    if kind == 'LocAtSwin':
        tables = {len(value) for name, value in backbone.items() if name.endswith('relative_position_bias_table')}
        found += [('no final norm', not arguments['final_norm']), ('windows of several sizes', len(tables) > 1)]
    else:
        found += [("Jumbo's class tokens", kind == 'LocAtJumbo'), ('rotary frequencies', 'rope' in arguments),
                  ('register tokens', arguments.get('num_registers', 0) > 0),
                  ('no position embedding', not arguments['with_pos_embed'])]
    return ('SwinTransformer' if kind == 'LocAtSwin' else 'VisionTransformer',
            next((what for what, there in found if there), ''))


def _hub_config(arguments: Dict[str, Any], written: Dict[str, Tensor], prr: bool) -> Dict[str, Any]:
    """Returns the arguments of the published implementation, which its ``from_pretrained`` reads from config.json."""
    arch, head = arguments['arch'], written.get('head.weight')
    square = {key: value[0] if value[0] == value[1] else list(value)
              for key, value in arguments.items() if key in ('img_size', 'patch_size')}
    config = dict(square, embed_dim=arch['embed_dims'], depth=arch['num_layers'], num_heads=arch['num_heads'],
                  mlp_ratio=arch['feedforward_channels'] / arch['embed_dims'],
                  num_classes=0 if head is None else head.shape[0], reg_tokens=arguments['num_registers'],
                  no_embed_class=arguments['no_embed_class'], no_pos_emb=not arguments['with_pos_embed'],
                  gaug=arguments['gaug'], prr=prr)
    if 'layer_scale_init_value' in arguments:
        config['init_values'] = arguments['layer_scale_init_value']
    return config


def _write(path: Path, tensors: Dict[str, Tensor], record: Dict[str, Any]) -> None:
    if path.suffix == '.safetensors':
        from safetensors.torch import save_file
        apart: Dict[str, Tensor] = {}  # safetensors refuses two names for one memory, which Jumbo's shared MLP has
        seen: Set[int] = set()
        for name, value in tensors.items():
            apart[name] = value.clone().contiguous() if value.data_ptr() in seen else value.contiguous()
            seen.add(value.data_ptr())
        save_file(apart, str(path), metadata=dict(format='pt', mmlocat=json.dumps(record)))
    else:
        torch.save(dict(meta=dict(mmlocat=record), state_dict=tensors), path)
