"""Fits a checkpoint to a model with GAug, step by step, and refuses weights that do not fit.

The steps are channels, completeness, position embedding and reference grid. Each is a function that records what it did
in a ``LoadReport``; ``fitting.FitsCheckpoints.fit_checkpoint`` calls them in turn, after the names are translated.
Attributes and methods of ``FitsCheckpoints`` say which deviations a model allows.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Dict, Iterable, List, Mapping, NamedTuple, Optional

import torch
from torch import Tensor, nn

from mmlocat.attention.kernel import Grid
from mmlocat.checkpoints.names import TEACHER

from .position import resize_position_embedding

if TYPE_CHECKING:
    from .fitting import FitsCheckpoints

# First parts of the names of a ViT backbone's weights, whether this model has them or not.
_PARTS = ('layers', 'patch_embed', 'cls_token', 'reg_token', 'dist_token', 'pos_embed', 'pre_norm', 'ln1', 'rope',
          'jumbo_mlp', 'norm_patches')
_GAUG = re.compile(r'(^|\.)log_(var|alpha)\.(weight|bias)$')


class PositionEmbedding(NamedTuple):
    """A backbone's learned position embedding, with what loading needs to resize one."""

    name: str  # of the parameter
    value: Tensor  # (1, P + H*W, C)
    grid: Grid  # (H, W)
    num_prefix: int  # P, leading entries of prefix tokens


@dataclass
class LoadReport:
    """The result of fitting a checkpoint, for the log."""

    backbone: str  # class of the model
    format: str
    nesting: str
    matched: int = 0
    total: int = 0
    missing: List[str] = field(default_factory=list)  # only allowed ones
    reshaped: List[str] = field(default_factory=list)  # only allowed ones, with both shapes; they are not loaded
    adapted: str = ''  # how the first convolution got the channels of the model's images
    resized: List[str] = field(default_factory=list)
    unused: List[str] = field(default_factory=list)  # weights of a backbone that this one does not use
    others: List[str] = field(default_factory=list)  # first parts of the names of all other weights
    ref_grid: str = ''

    def __str__(self) -> str:
        names = f'{self.format} names' + (f', under {self.nesting!r}' if self.nesting else '')
        names += ", DINO's teacher" if self.nesting.endswith(TEACHER.strip('.')) else ''
        lines = [f'Weights of {self.backbone} ({names}): {self.matched} of {self.total} matched.']
        if self.missing:
            lines.append(f'  missing, as allow_partial or gaug_init permits, so they keep their first values: '
                         f'{_some(self.missing)}')
        if self.reshaped:
            lines.append(f'  not loaded, of another shape, as allow_partial or gaug_init permits, so they keep their '
                         f'first values: {_some(self.reshaped)}')
        if self.adapted:
            lines.append(f'  adapted: {self.adapted}')
        lines += [f'  resized: {entry}' for entry in self.resized]
        if self.unused:
            lines.append(f'  unused, without effect: {_some(self.unused)}')
        if self.others:
            lines.append(f'  not of the backbone, which does not matter: {", ".join(self.others)}')
        if self.ref_grid:
            lines.append(f'  reference grid {self.ref_grid}')
        return '\n'.join(lines)


def is_gaug(name: str) -> bool:
    """Tells by its name whether a weight belongs to a ``GaussianAttention``, anywhere in a backbone."""
    return _GAUG.search(name) is not None


def without_wrapper(name: str) -> str:
    """Returns the name of a parameter or module without the parts that FSDP adds."""
    return '.'.join(part for part in name.split('.') if part != '_fsdp_wrapped_module')


def first_convolution(model: nn.Module) -> Optional[str]:
    """Returns the name of the weight (C, channels, height, width) that meets the image, or None if there is none."""
    return next((f'{without_wrapper(name)}.weight' for name, module in model.named_modules()
                 if isinstance(module, nn.Conv2d)), None)


def fit_channels(model: FitsCheckpoints, weights: Dict[str, Tensor], report: LoadReport) -> None:
    """Gives the first convolution among the weights the channels of the model's images, if ``adapt_channels`` is set.

    As many whole copies of the given channels as there is room for come first, then their mean for each channel that
    is left; all of it times given / wanted channels. An image whose channels are all equal has the same patch
    embedding before and after, so the later layers meet numbers of the size that they know.
    """
    name = first_convolution(model)
    weight = weights.get(name)
    if not model.adapt_channels or weight is None or weight.dim() != 4 or weight.shape[1] == model.in_channels:
        return
    given, wanted = weight.shape[1], model.in_channels
    copies, rest = divmod(wanted, given)
    mean = weight.mean(dim=1, keepdim=True)
    weights[name] = torch.cat([weight] * copies + [mean] * rest, dim=1) * (given / wanted)
    how = ([f'repeated {copies} times' if copies > 1 else 'kept'] if copies else []) + (
        [f'their mean in {rest}'] if rest else [])
    report.adapted = f'{name} from {given} channels to {wanted}: {", ".join(how)}, times {given}/{wanted}'


def check_completeness(model: FitsCheckpoints, weights: Dict[str, Tensor], report: LoadReport,
                       found: List[str]) -> None:
    """Refuses translated weights that are missing, left over, of another shape or not finite, unless allowed.

    Allowed ones of another shape are removed, so that loading does not fail on them and the model keeps its own.
    ``found`` are some names as the checkpoint has them, for the message.

    Raises:
        RuntimeError: One of these is there and not allowed, or no weight is of this model.
    """
    kind = report.backbone
    own = {without_wrapper(name): value for name, value in model.named_parameters()}
    if not own.keys() & weights.keys():
        raise RuntimeError(f'none of the {len(weights)} entries of the checkpoint is a weight of {kind}; it has '
                           f'{", ".join(found)} ..., wanted are {", ".join(list(own)[:3])} ...')
    report.total, report.missing = len(own), [name for name in own if name not in weights]
    report.matched = len(own) - len(report.missing)
    for name in _check_missing(model, own, weights, report):
        del weights[name]
        report.matched -= 1
    extra = [name for name in weights if name not in own]
    parts = {*_PARTS, *(name.split('.')[0] for name in own)}
    report.unused = [name for name in extra if name.split('.')[0] in parts]
    report.others = [part for part in dict.fromkeys(name.split('.')[0] for name in extra) if part not in parts]
    surplus = [name for name in report.unused if not (_named(name, model.allow_partial) or model.has_no_use_for(name))]
    if surplus:
        raise RuntimeError(f'the checkpoint has {len(surplus)} weights that this {kind} has no place for: '
                           f'{_some(surplus)}; check {model.size_arguments}, with_pos_embed, num_registers, '
                           'layer_scale_init_value and (of LocAtViT) pre_norm, or name what may be left out in '
                           'allow_partial')
    broken = [name for name in own if name in weights and not weights[name].isfinite().all()]
    if broken:
        raise RuntimeError(f'{len(broken)} weights of the checkpoint hold NaN or infinity: {_some(broken)}')


def _check_missing(model: FitsCheckpoints, own: Mapping[str, Tensor], weights: Mapping[str, Tensor],
                   report: LoadReport) -> List[str]:
    """Refuses weights that are missing or have another shape, with advice by their kind.

    Returns:
        The names of those of another shape that are allowed; their shapes are in the report.
    """
    kind, embedding = report.backbone, model.position_embedding
    gaug = any(map(is_gaug, weights))
    if gaug and model.ref_grid is None:
        raise RuntimeError(f'the checkpoint is of a {kind} with GAug, this model is a plain one; set gaug=True')
    # The position embedding is resized afterwards; FSDP checks the shapes of its sharded parameters itself.
    excused = {without_wrapper(name) for name, _ in model.named_parameters() if name != without_wrapper(name)}
    excused.add(embedding.name if embedding else None)
    reshaped = {name: f'{name} {tuple(weights[name].shape)} instead of {tuple(value.shape)}'
                for name, value in own.items()
                if name in weights and name not in excused and weights[name].shape != value.shape}
    advice = f'check {model.size_arguments}, gaug and patch_size, or name what may be missing in allow_partial'
    for problem, entries in (('lacks', {name: name for name in report.missing}), ('has in another shape', reshaped)):
        wrong = {name: entry for name, entry in entries.items()
                 if not _named(name, model.allow_partial) and not (model.gaug_init and model.comes_with_gaug(name))}
        if wrong:
            if all(map(model.comes_with_gaug, wrong)):
                advice = f"a plain model becomes a {kind} by gaug_init='identity' or 'paper'; or set gaug=False"
            elif list(wrong) == [first_convolution(model)] and problem != 'lacks':
                advice = 'adapt_channels=True (--adapt-channels) averages or repeats its channels'
            raise RuntimeError(f'the checkpoint {problem} {len(wrong)} of {len(own)} weights of {kind}: '
                               f'{_some(list(wrong.values()))}; {advice}')
    partly = [name for name in report.missing if is_gaug(name)]
    if gaug and partly:
        raise RuntimeError(f'the checkpoint has GAug weights in part: it lacks {_some(partly)}; take a whole one')
    report.reshaped = list(reshaped.values())
    return list(reshaped)


def _some(names: List[str]) -> str:
    return ', '.join(names[:3]) + (f' ... ({len(names)} in all)' if len(names) > 3 else '')


def _named(name: str, parts: Iterable[str]) -> bool:
    return any(part in name for part in parts)


def recorded_grid(state_dict: Mapping, metadata: Optional[Mapping], key: str = 'ref_grid') -> Optional[Grid]:
    """Returns a grid that a checkpoint records, in the metadata of the backbone or of its whole; None if it does not.

    ``key`` is 'ref_grid', of pretraining, or 'embedding_grid', of the position embedding, which may have been resized.
    """
    # If the backbone is recorded under a wrapper's name, PyTorch (2.1 to 2.14) does not pass the record on to it.
    whole = getattr(state_dict, '_metadata', None) or {}
    names = ('backbone', 'module.backbone', '_orig_mod.backbone', 'module', '_orig_mod', '')
    for record in [metadata or {}, *(whole.get(name) or {} for name in names)]:
        if record.get(key) is not None:
            return tuple(record[key])
    return None


def fit_position_embedding(model: FitsCheckpoints, weights: Dict[str, Tensor], recorded: Optional[Grid],
                           embedded: Optional[Grid], report: LoadReport) -> Optional[Grid]:
    """Resizes the position embedding among the weights to the model's grid, in place; returns the grid that it had.

    ``recorded`` is the pretraining grid that the checkpoint records, ``embedded`` the grid of its embedding. Their
    number of entries does not tell grids of 32 x 64 and 64 x 32 patches apart; without records, ``ref_grid=`` does.

    Raises:
        RuntimeError, ValueError: Its channels are not the model's; its grid is neither known nor square.
    """
    own = model.position_embedding
    value = weights.get(own.name) if own else None
    if value is None:
        return None
    if value.dim() != 3 or value.shape[2] != own.value.shape[2]:
        raise RuntimeError(f'the checkpoint has in another shape 1 of the weights of {report.backbone}: {own.name} '
                           f'{tuple(value.shape)} instead of {tuple(own.value.shape)}; check {model.size_arguments}')
    said = model.given_ref_grid if recorded is None else None
    known = (embedded, said, own.grid, recorded or model.ref_grid)
    source = _grid_of(value.shape[1] - own.num_prefix, *known)
    if source is None and not any('cls_token' in name for name, _ in model.named_parameters()):
        # The checkpoint may have an entry for a class token, which this model does not have.
        value = value[:, 1:]
        source = _grid_of(value.shape[1] - own.num_prefix, *known)
    if source is None:
        raise ValueError(f'{own.name} of the checkpoint has {weights[own.name].shape[1]} entries, which is not a '
                         f'square grid and {own.num_prefix} prefix entries; check num_registers and no_embed_class of '
                         f'{report.backbone} (of LocAtViT with_cls_token too), and give a grid that is not square as '
                         'ref_grid=(H, W)')
    if source != own.grid:
        report.resized.append(f'{own.name} from a grid of {source} to {own.grid}')
    weights[own.name] = resize_position_embedding(value, source, own.grid, own.num_prefix)
    return source


def _grid_of(patches: int, *known: Optional[Grid]) -> Optional[Grid]:
    """Returns the first known grid of this many patches, else a square one; None if there is none."""
    side = math.isqrt(max(patches, 1))
    return next((grid for grid in (*known, (side, side)) if grid and math.prod(grid) == patches), None)


def settle_reference_grid(model: FitsCheckpoints, recorded: Optional[Grid], embedded: Optional[Grid],
                          report: LoadReport) -> None:
    """Takes the pretraining grid from the first source that has one: ref_grid=, the record, the embedding, img_size.

    A model with ``grid_source`` keeps its own; the report says where the record differs.

    Raises:
        RuntimeError: ``ref_grid=`` contradicts the record.
    """
    current = model.ref_grid
    if current is None:
        return
    if model.grid_source:
        report.ref_grid = f'{current}, {model.grid_source}'
        if recorded not in (None, current):
            report.ref_grid += f'; the checkpoint records {recorded}'
        return
    if model.given_ref_grid and recorded not in (None, current):
        raise RuntimeError(f'the checkpoint was pretrained on a grid of {recorded}, but ref_grid={current}; leave '
                           "ref_grid out to take the checkpoint's")
    if model.given_ref_grid:
        grid, reason = current, 'as ref_grid= says'
    elif recorded:
        grid, reason = recorded, 'as the checkpoint records'
    elif embedded:
        grid, reason = embedded, "that of the checkpoint's position embedding"
    else:
        grid, reason = current, 'from img_size: the checkpoint names none and has no position embedding'
    report.ref_grid = f'{grid}, {reason}'
    if grid != current:
        report.ref_grid += f', instead of {current} from img_size'
        model.replace_kernel(grid)
