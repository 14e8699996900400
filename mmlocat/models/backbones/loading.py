"""Fits a checkpoint to a LocAt backbone, step by step, and refuses weights that do not fit.

The steps are names, completeness, position embedding and reference grid. Each is a function that records what it did in
a ``LoadReport``; ``fit_checkpoint`` calls them in turn. Attributes and methods of ``base.LocAtBase`` say which
deviations a backbone allows.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, NamedTuple, Optional

from mmengine.logging import print_log
from torch import Tensor

from mmlocat.attention.kernel import Grid

from .position import resize_position_embedding

if TYPE_CHECKING:
    from .base import LocAtBase

# First parts of the names of a ViT backbone's weights, whether this model has them or not.
_PARTS = ('layers', 'patch_embed', 'cls_token', 'reg_token', 'dist_token', 'pos_embed', 'pre_norm', 'ln1')
_GAUG = re.compile(r'(^|\.)log_(var|alpha)\.(weight|bias)$')


class PositionEmbedding(NamedTuple):
    """A backbone's learned position embedding, with what loading needs to resize one."""

    name: str  # of the parameter
    value: Tensor  # (1, P + H*W, C)
    grid: Grid  # (H, W)
    num_prefix: int  # P, leading entries of prefix tokens
    mode: str = 'bicubic'  # of resizing


@dataclass
class LoadReport:
    """The result of fitting a checkpoint, for the log."""

    backbone: str  # class of the model
    format: str
    nesting: str
    matched: int = 0
    total: int = 0
    missing: List[str] = field(default_factory=list)  # only allowed ones
    resized: List[str] = field(default_factory=list)
    unused: List[str] = field(default_factory=list)  # weights of a backbone that this one does not use
    others: Dict[str, int] = field(default_factory=dict)  # number of other weights by the first part of their names
    ref_grid: str = ''

    def __str__(self) -> str:
        names = f'{self.format} names' + (f', under {self.nesting!r}' if self.nesting else '')
        lines = [f'Weights of {self.backbone} ({names}): {self.matched} of {self.total} matched.']
        if self.missing:
            lines.append(f'  missing, as allow_partial or gaug_init permits, so they keep their first values: '
                         f'{_some(self.missing)}')
        lines += [f'  resized: {entry}' for entry in self.resized]
        if self.unused:
            lines.append(f'  unused, without effect: {_some(self.unused)}')
        if self.others:
            groups = ', '.join(f'{name} ({count})' for name, count in self.others.items())
            lines.append(f'  not of the backbone, which does not matter: {groups}')
        if self.ref_grid:
            lines.append(f'  reference grid {self.ref_grid}')
        return '\n'.join(lines)


def fit_checkpoint(model: LocAtBase, state_dict: Dict[str, Any], prefix: str = '',
                   metadata: Optional[Mapping] = None) -> LoadReport:
    """Converts the weights of a checkpoint to a backbone's names and shapes, in place; refuses those that do not fit.

    ``init_cfg`` loads with ``strict=False`` and only logs wrong shapes, so only this function refuses them. It may
    replace the model's Gaussian kernel by that of the checkpoint's pretraining grid.

    Args:
        model: The backbone.
        state_dict: Weights as ``model.translate`` takes them, of the backbone, or of a whole model around it.
        prefix: The prefix of the backbone's names in it.
        metadata: The state dict's metadata for this module; only the key 'ref_grid' is read.

    Returns:
        A report of what was found.

    Raises:
        RuntimeError: Weights are missing, left over, of another shape or not finite, and ``allow_partial`` does not
            name them; or the reference grids contradict each other.
        ValueError: The position embedding has no grid that the model's prefix tokens leave.
    """
    kind = type(model).__name__
    own = {name[len(prefix):]: value for name, value in state_dict.items() if name.startswith(prefix)}
    if not own:
        raise RuntimeError(f'the checkpoint has no entry under {prefix!r}, where this model has its {kind}; '
                           "to start from a bare ViT, give it by backbone=dict(init_cfg=dict(type='Pretrained', "
                           'checkpoint=...)) instead')
    weights, names, nesting = model.translate(own)
    report = LoadReport(kind, names, nesting)
    check_completeness(model, weights, report, found=list(own)[:3])
    recorded = recorded_grid(state_dict, prefix, metadata)
    embedded = fit_position_embedding(model, weights, report)
    settle_reference_grid(model, recorded, embedded, report)
    for name in own:
        del state_dict[prefix + name]
    state_dict.update({prefix + name: value for name, value in weights.items()})
    return report


def log_report(report: LoadReport) -> None:
    """Writes the report into the current log, as one entry."""
    print_log(str(report), logger='current')


def is_gaug(name: str) -> bool:
    """Tells by its name whether a weight belongs to a ``GaussianAttention``, anywhere in a backbone."""
    return _GAUG.search(name) is not None


def without_wrapper(name: str) -> str:
    """Returns the name of a parameter or module without the parts that FSDP adds."""
    return '.'.join(part for part in name.split('.') if part != '_fsdp_wrapped_module')


def check_completeness(model: LocAtBase, weights: Mapping[str, Tensor], report: LoadReport, found: List[str]) -> None:
    """Compares names and shapes of translated weights with the model's, and checks that they are finite.

    Args:
        model: The backbone.
        weights: The weights under its names.
        report: Receives what matched, what is missing and what is left over.
        found: Some names as the checkpoint has them, for the message.

    Raises:
        RuntimeError: A weight is missing, left over, of another shape or not finite, and this is not allowed.
    """
    kind = report.backbone
    own = {without_wrapper(name): value for name, value in model.named_parameters()}
    if not own.keys() & weights.keys():
        raise RuntimeError(f'none of the {len(weights)} entries of the checkpoint is a weight of {kind}; it has '
                           f'{", ".join(found)} ..., wanted are {", ".join(list(own)[:3])} ...')
    report.total, report.missing = len(own), [name for name in own if name not in weights]
    report.matched = len(own) - len(report.missing)
    _check_missing(model, own, weights, report)
    extra = [name for name in weights if name not in own]
    parts = {*_PARTS, *(name.split('.')[0] for name in own)}
    report.unused = [name for name in extra if name.split('.')[0] in parts]
    report.others = dict(Counter(name.split('.')[0] for name in extra if name.split('.')[0] not in parts))
    surplus = [name for name in report.unused if not (_named(name, model.allow_partial) or model.has_no_use_for(name))]
    if surplus:
        raise RuntimeError(f'the checkpoint has {len(surplus)} weights that this {kind} has no place for: '
                           f'{_some(surplus)}; check arch, with_pos_embed, num_registers, pre_norm and '
                           'layer_scale_init_value, or name what may be left out in allow_partial')
    broken = [name for name in own if name in weights and not weights[name].isfinite().all()]
    if broken:
        raise RuntimeError(f'{len(broken)} weights of the checkpoint hold NaN or infinity: {_some(broken)}')


def _check_missing(model: LocAtBase, own: Mapping[str, Tensor], weights: Mapping[str, Tensor],
                   report: LoadReport) -> None:
    """Refuses weights that are missing or have another shape; advises on GAug if only GAug weights are affected."""
    kind, embedding = report.backbone, model.position_embedding
    gaug = any(map(is_gaug, weights))
    if gaug and model.ref_grid is None:
        raise RuntimeError(f'the checkpoint is of a {kind}, this model is a plain ViT; set gaug=True')
    # The position embedding is resized afterwards; FSDP checks the shapes of its sharded parameters itself.
    excused = {without_wrapper(name) for name, _ in model.named_parameters() if name != without_wrapper(name)}
    excused.add(embedding.name if embedding else None)
    reshaped = {name: f'{name} {tuple(weights[name].shape)} instead of {tuple(value.shape)}'
                for name, value in own.items()
                if name in weights and name not in excused and weights[name].shape != value.shape}
    advice = 'check arch, gaug and patch_size, or name what may be missing in allow_partial'
    for problem, entries in (('lacks', {name: name for name in report.missing}), ('has in another shape', reshaped)):
        wrong = {name: entry for name, entry in entries.items()
                 if not _named(name, model.allow_partial) and not (model.gaug_init and is_gaug(name))}
        if wrong:
            if all(map(is_gaug, wrong)):
                advice = f"a plain ViT becomes a {kind} by gaug_init='identity' or 'paper'; or set gaug=False"
            raise RuntimeError(f'the checkpoint {problem} {len(wrong)} of {len(own)} weights of {kind}: '
                               f'{_some(list(wrong.values()))}; {advice}')
    partly = [name for name in report.missing if is_gaug(name)]
    if gaug and partly:
        raise RuntimeError(f'the checkpoint has GAug weights in part: it lacks {_some(partly)}; take a whole one')


def _some(names: List[str]) -> str:
    return ', '.join(names[:3]) + (f' ... ({len(names)} in all)' if len(names) > 3 else '')


def _named(name: str, parts: Iterable[str]) -> bool:
    return any(part in name for part in parts)


def recorded_grid(state_dict: Mapping, prefix: str = '', metadata: Optional[Mapping] = None) -> Optional[Grid]:
    """Returns the reference grid that a saved or converted checkpoint records; None if it records none.

    Args:
        state_dict: A state dict, with its ``_metadata`` if that was kept.
        prefix: The prefix of the backbone's names in it.
        metadata: Its metadata for the backbone.
    """
    # If the backbone is recorded under a wrapper's name, PyTorch does not pass the record on to the backbone.
    whole = getattr(state_dict, '_metadata', None) or {}
    for record in [metadata or {}, *(whole.get(name) or {} for name in ('backbone', 'module.backbone', 'module', ''))]:
        if record.get('ref_grid') is not None:
            return tuple(record['ref_grid'])
    return None


def fit_position_embedding(model: LocAtBase, weights: Dict[str, Tensor], report: LoadReport) -> Optional[Grid]:
    """Resizes the position embedding among the weights to the model's grid, in place.

    Args:
        model: The backbone.
        weights: The weights under its names.
        report: Receives a note if the embedding is resized.

    Returns:
        The grid of the checkpoint's embedding; None if there is no embedding.

    Raises:
        RuntimeError: The embedding has another number of channels.
        ValueError: Its number of entries does not match any grid.
    """
    own = model.position_embedding
    value = weights.get(own.name) if own else None
    if value is None:
        return None
    if value.shape[2] != own.value.shape[2]:
        raise RuntimeError(f'the checkpoint has in another shape 1 of the weights of {report.backbone}: {own.name} '
                           f'{tuple(value.shape)} instead of {tuple(own.value.shape)}; check arch')
    source = _grid_of(value, own, model.pretrain_grid)
    if source is None and not any('cls_token' in name for name, _ in model.named_parameters()):
        # The checkpoint may have an entry for a class token, which this model does not have.
        value = value[:, 1:]
        source = _grid_of(value, own, model.pretrain_grid)
    if source is None:
        wanted = 'that of pretrain_grid' if model.pretrain_grid else 'a square grid'
        entries = weights[own.name].shape[1]
        raise ValueError(f'{own.name} of the checkpoint has {entries} entries, which is not {wanted} and '
                         f'{own.num_prefix} prefix entries; check with_cls_token, num_registers and no_embed_class of '
                         f'{report.backbone}, and give a grid that is not square as pretrain_grid=(H, W)')
    if source != own.grid:
        report.resized.append(f'{own.name} from a grid of {source} to {own.grid}')
    weights[own.name] = resize_position_embedding(value, source, own.grid, own.num_prefix, own.mode)
    return source


def _grid_of(value: Tensor, own: PositionEmbedding, given: Optional[Grid]) -> Optional[Grid]:
    patches = value.shape[1] - own.num_prefix
    if given:
        return given if math.prod(given) == patches else None
    if patches == math.prod(own.grid):
        return own.grid
    side = math.isqrt(max(patches, 0))
    return (side, side) if side and side * side == patches else None


def settle_reference_grid(model: LocAtBase, recorded: Optional[Grid], embedded: Optional[Grid],
                          report: LoadReport) -> None:
    """Takes the pretraining grid from the first source that has one: ref_grid=, the record, the embedding, img_size.

    Args:
        model: The backbone; its Gaussian kernel may be replaced.
        recorded: The grid that the checkpoint records.
        embedded: The grid of its position embedding.
        report: Receives the grid that was taken.

    Raises:
        RuntimeError: ``ref_grid=`` and the record contradict each other.
    """
    current = model.ref_grid
    if current is None:
        return
    if model.explicit_ref_grid:
        if recorded and recorded != current:
            raise RuntimeError(f'the checkpoint was pretrained on a grid of {recorded}, but ref_grid={current}; leave '
                               "ref_grid out to take the checkpoint's")
        report.ref_grid = f'{current}, as ref_grid= says'
        return
    grid = recorded or embedded
    if grid is None:
        report.ref_grid = f'{current}, from img_size: the checkpoint names none and has no position embedding'
        return
    reason = 'as the checkpoint records' if recorded else "that of the checkpoint's position embedding"
    report.ref_grid = f'{grid}, {reason}' + (f', instead of {current} from img_size' if grid != current else '')
    if grid != current:
        model.replace_kernel(grid)
