"""Converts a ViT checkpoint to one of four layouts; whatever is unclear is an error, which leaves no file."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import torch
from torch import Tensor

from mmlocat import __version__
from mmlocat.checkpoints.architecture import infer_arch
from mmlocat.checkpoints.errors import CheckpointError
from mmlocat.checkpoints.names import to_classifier_names, to_timm_names, translate
from mmlocat.checkpoints.reader import Checkpoint, read_checkpoint
from mmlocat.utils import sha256, staged

LAYOUTS = ('mmlocat', 'mmpretrain', 'timm', 'hub')
_BACKBONE = ('layers.', 'patch_embed.', 'cls_token', 'reg_token', 'pos_embed', 'pre_norm.', 'ln1.', 'ln2.')
_CLASSIFIER = ('head.weight', 'head.bias', 'head.layers.head.weight', 'head.layers.head.bias')
_SEGMENTOR = ('decode_head.', 'auxiliary_head.', 'neck.')
_TENSORS = ('.safetensors', )
_PICKLES = ('.pth', '.pt')


@dataclass
class Conversion:
    """The result of a conversion, for the printed table and for ``verify``."""

    source: Checkpoint
    sha256: str  # of the source file, '' where there is none
    backbone: Dict[str, Tensor]  # under this package's names, without a prefix
    rest: Dict[str, Tensor]  # heads
    arguments: Dict[str, Any]  # of LocAtViT
    written: Dict[str, Tensor]  # under the names of the layout
    layout: str
    target: Path

    @property
    def grid(self) -> Tuple[int, int]:
        """The pretraining grid (H, W)."""
        sizes = zip(self.arguments['img_size'], self.arguments['patch_size'])
        return tuple(image // patch for image, patch in sizes)

    def rows(self) -> List[Tuple[str, str, str, str]]:
        """Returns lines of a table: part, dtype, tensors, parameters."""
        rows = []
        for part, tensors in (('backbone', self.backbone), ('heads', self.rest)):
            if tensors:
                dtypes = sorted({str(t.dtype).split('.')[-1] for t in tensors.values()})
                count = sum(t.numel() for t in tensors.values())
                rows.append((part, ', '.join(dtypes), str(len(tensors)), f'{count:,}'))
        return rows


def convert(source: str, target: Union[str, Path], layout: str, *, trust_pickle: bool = False,
            backbone_only: bool = False, num_heads: Optional[int] = None, ref_grid: Optional[Tuple[int, int]] = None,
            prr: bool = True, check: Optional[Callable[[Conversion, Path], None]] = None) -> Conversion:
    """Writes the weights of a checkpoint in another layout; every tensor keeps its bits.

    Args:
        source: As ``read_checkpoint`` takes it.
        target: A .pth, .pt or .safetensors file; for 'hub' a new folder.
        layout: 'mmlocat' (a whole model's names, read by this package), 'mmpretrain' (the same, for plain ViTs only),
            'timm' (names of timm and of the published weights), or 'hub' (the same, with a config.json).
        trust_pickle: Whether a pickle may hold anything; it can run code.
        backbone_only: Whether to leave heads out.
        num_heads: The number of heads, needed where the weights do not show it.
        ref_grid: The pretraining grid (H, W), needed where neither weights nor record show it.
        prr: The value of ``prr`` in the hub's config; PRR has no weights that would show it.
        check: Called with the conversion and the staged file before it is moved to the target; an error leaves no file.

    Returns:
        The result of the conversion.

    Raises:
        CheckpointError: The source cannot be read, holds weights that the layout has no place for, or does not show
            which model it belongs to.
        FileNotFoundError: The source does not exist.
        ValueError: The target cannot be written under this name.
    """
    target = Path(target)
    _check_target(target, layout, source)
    checkpoint = read_checkpoint(source, trust_pickle=trust_pickle)
    if ref_grid and checkpoint.ref_grid and tuple(ref_grid) != checkpoint.ref_grid:
        raise CheckpointError(f'{source} records a reference grid of {checkpoint.ref_grid}, --ref-grid says '
                              f'{tuple(ref_grid)}; leave the option out')
    backbone, rest = _split(checkpoint, backbone_only)
    try:
        arguments = infer_arch(backbone, num_heads=num_heads, grid=ref_grid or checkpoint.ref_grid)
    except CheckpointError as error:
        raise CheckpointError(f'{source}: {error}') from error
    written = _in_layout(source, layout, backbone, rest, arguments)
    digest = sha256(checkpoint.path) if checkpoint.path else ''
    result = Conversion(checkpoint, digest, backbone, rest, arguments, written, layout, target)
    grid = tuple(ref_grid or checkpoint.ref_grid or result.grid)
    if layout == 'hub' and arguments['gaug'] and grid != result.grid:
        raise CheckpointError(f'{source} has a reference grid of {grid} and a position embedding of {result.grid}; the '
                              "published implementation's config.json has no word for that, so use another layout")
    record = dict(layout=layout, ref_grid=list(grid), source=Path(source).name, source_sha256=digest,
                  version=__version__)
    with staged(target) as place:
        if layout == 'hub':
            place.mkdir()
            _write(place / 'model.safetensors', written, record)
            (place / 'config.json').write_text(json.dumps(_hub_config(result, prr), indent=2) + '\n', encoding='utf-8')
        else:
            _write(place, written, record)
        if check is not None:
            check(result, place)
    return result


def _check_target(target: Path, layout: str, source: str) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f'unknown layout {layout!r}; choose one of {", ".join(LAYOUTS)}')
    if layout == 'hub':
        if target.exists():
            raise ValueError(f'{target} exists; for the hub layout give a folder that does not yet')
    elif target.suffix not in (*_TENSORS, *_PICKLES):
        raise ValueError(f'{target} must end in {", ".join((*_TENSORS, *_PICKLES))}, which says how it is stored')
    elif target.is_dir():
        raise ValueError(f'{target} is a folder; give the name of a file')
    elif target.exists() and Path(source).exists() and target.samefile(source):
        raise ValueError(f'{target} is the source itself; give another target')
    if not target.resolve().parent.is_dir():
        raise ValueError(f'{target}: the folder {target.resolve().parent} does not exist; make it first')


def _split(checkpoint: Checkpoint, backbone_only: bool) -> Tuple[Dict[str, Tensor], Dict[str, Tensor]]:
    """Separates the weights of backbone and heads, and raises an error for any others."""
    try:
        translated = translate(checkpoint.state_dict).state_dict
    except ValueError as error:
        raise CheckpointError(f'{checkpoint.source}: {error}') from error
    backbone = {name: value for name, value in translated.items() if name.startswith(_BACKBONE)}
    rest = {name: value for name, value in translated.items() if name not in backbone}
    if backbone_only:
        return backbone, {}
    strange = [name for name in rest if name not in _CLASSIFIER and not name.startswith(_SEGMENTOR)]
    if strange:
        raise CheckpointError(f'{checkpoint.source} has {len(strange)} weights that are neither of the backbone nor '
                              f'of a head: {", ".join(strange[:3])}{" ..." if len(strange) > 3 else ""}; '
                              '--backbone-only leaves all of them out')
    return backbone, rest


def _in_layout(source: str, layout: str, backbone: Dict[str, Tensor], rest: Dict[str, Tensor],
               arguments: Dict[str, Any]) -> Dict[str, Tensor]:
    segments = any(name.startswith(_SEGMENTOR) for name in rest)
    if layout == 'mmpretrain':
        for what, there in (('GAug weights', arguments['gaug']), ('register tokens', arguments['num_registers'] > 0),
                            ('no position embedding', not arguments['with_pos_embed']),
                            ('segmentation heads', segments)):
            if there:
                raise CheckpointError(f"{source} has {what}, for which MMPretrain's VisionTransformer has no place; "
                                      'use --to mmlocat' + (' or --backbone-only' if segments else ''))
    if layout in ('timm', 'hub'):
        if segments:
            raise CheckpointError(f'{source} is of a segmentor, and timm has no place for its heads; --backbone-only '
                                  'leaves them out')
        return to_timm_names({**backbone, **rest})
    named = to_classifier_names({**backbone, **{n: v for n, v in rest.items() if not n.startswith(_SEGMENTOR)}})
    return {**named, **{name: value for name, value in rest.items() if name.startswith(_SEGMENTOR)}}


def _hub_config(result: Conversion, prr: bool) -> Dict[str, Any]:
    """Returns the arguments of the published implementation, which its ``from_pretrained`` reads from config.json."""
    arguments, arch = result.arguments, result.arguments['arch']
    head = result.written.get('head.weight')
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
    if path.suffix in _PICKLES:
        state = OrderedDict(tensors)
        torch.save(dict(meta=dict(mmlocat=record), state_dict=state), path)
        return
    from safetensors.torch import save_file
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    save_file(contiguous, str(path), metadata=dict(format='pt', mmlocat=json.dumps(record)))
