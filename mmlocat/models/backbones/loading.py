"""What happens to a checkpoint on its way into LocAtViT: names, completeness, position embedding, reference grid."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple

from mmengine.logging import print_log
from torch import Tensor

from mmlocat.attention.kernel import Grid
from mmlocat.checkpoints import translate

from .position import resize_position_embedding

# What a ViT backbone consists of; other names are of heads, decoders and the like.
_PARTS = ('layers.', 'patch_embed.', 'cls_token', 'reg_token', 'dist_token', 'pos_embed', 'pre_norm.', 'ln1.')


@dataclass
class LoadReport:
    """What became of a checkpoint."""

    format: str
    nesting: str
    matched: int
    total: int
    missing: List[str]  # all of them allowed
    resized: List[str] = field(default_factory=list)
    unused: List[str] = field(default_factory=list)  # of the backbone, but without effect
    others: Dict[str, int] = field(default_factory=dict)  # first part of the name, how many
    ref_grid: str = ''

    def __str__(self) -> str:
        names = f'{self.format} names' + (f', under {self.nesting!r}' if self.nesting else '')
        lines = [f'Weights of LocAtViT ({names}): {self.matched} of {self.total} matched.']
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


def fit_checkpoint(model, state_dict: Dict[str, Any], prefix: str = '',
                   metadata: Optional[Mapping] = None) -> LoadReport:
    """Brings the weights of a checkpoint into a model's names and shapes, in place, and refuses what does not fit.

    ``init_cfg`` loads with ``strict=False`` and only logs wrong shapes, so nothing else would stop it. May replace
    the model's Gaussian kernel by that of the checkpoint's pretraining grid.

    Args:
        model: A ``LocAtViT``.
        state_dict: Weights as ``translate`` takes them, of the backbone, or of a whole model around it.
        prefix: What the backbone's names begin with in it.
        metadata: What a state dict bears about this module; of it the key 'ref_grid' is read.

    Returns:
        What was found.

    Raises:
        RuntimeError: Weights are missing, left over, of another shape or not finite, and ``allow_partial`` does not
            name them; or the reference grids contradict each other.
        ValueError: The position embedding has no grid that the model's prefix tokens leave.
    """
    own = {name[len(prefix):]: value for name, value in state_dict.items() if name.startswith(prefix)}
    if not own:
        raise RuntimeError(f'the checkpoint has no entry under {prefix!r}, where this model has its LocAtViT; '
                           "to start from a bare ViT, give it by backbone=dict(init_cfg=dict(type='Pretrained', "
                           'checkpoint=...)) instead')
    renamed, names, nesting = translate(own)
    report = _compare(model, renamed, names, nesting, first=list(own)[:3])
    recorded = _recorded_grid(state_dict, prefix, metadata)
    source = _fit_position_embedding(model, renamed, report)
    _settle_reference_grid(model, recorded, source, report)
    for name in own:
        del state_dict[prefix + name]
    state_dict.update({prefix + name: value for name, value in renamed.items()})
    return report


def log_report(report: LoadReport) -> None:
    """Writes the report into the current log, as one entry."""
    print_log(str(report), logger='current')


def record_ref_grid(model, state_dict: dict, prefix: str, local_metadata: dict) -> None:
    """State-dict hook: whoever saves the weights saves the grid of their pretraining with them."""
    if model.kernel is not None:
        local_metadata['ref_grid'] = model.kernel.ref_grid


def _compare(model, renamed: Dict[str, Tensor], names: str, nesting: str, first: List[str]) -> LoadReport:
    own = {without_wrapper(name): value for name, value in model.named_parameters()}
    shards = {without_wrapper(name) for name, _ in model.named_parameters() if name != without_wrapper(name)}
    for name in [name for name in own if name.endswith('ffn.gamma2.scale')]:  # so called in mmcv 2.1
        if name[:-len('scale')] + 'weight' in renamed:
            renamed[name] = renamed.pop(name[:-len('scale')] + 'weight')
    if not own.keys() & renamed.keys():
        raise RuntimeError(f'none of the {len(renamed)} entries of the checkpoint is a weight of LocAtViT; it has '
                           f'{", ".join(first)} ..., wanted are {", ".join(list(own)[:3])} ...')
    gaug = [name for name in renamed if '.attn.gaug.' in name]
    if model.kernel is None and gaug:
        raise RuntimeError('the checkpoint is of a LocAtViT, this model is a plain ViT; set gaug=True')
    missing = [name for name in own if name not in renamed]
    # The position embedding is resized afterwards; FSDP checks the shapes of what it has sharded itself.
    reshaped = [f'{name} {tuple(renamed[name].shape)} instead of {tuple(own[name].shape)}' for name in own
                if name in renamed and name not in shards and name != 'pos_embed'
                and renamed[name].shape != own[name].shape]
    advice = 'check arch, gaug and patch_size, or name what may be missing in allow_partial'
    for problem, wrong in (('lacks', missing), ('has in another shape', reshaped)):
        wrong = [name for name in wrong if not _allowed(model, name)]
        if wrong:
            if all('.attn.gaug.' in name for name in wrong):
                advice = "a plain ViT becomes a LocAtViT by gaug_init='identity' or 'paper'; or set gaug=False"
            raise RuntimeError(f'the checkpoint {problem} {len(wrong)} of {len(own)} weights of LocAtViT: '
                               f'{_some(wrong)}; {advice}')
    if gaug and any('.attn.gaug.' in name for name in missing):
        raise RuntimeError(f'the checkpoint has GAug weights in part: it lacks '
                           f'{_some([name for name in missing if ".attn.gaug." in name])}; take a whole one')
    extra = [name for name in renamed if name not in own]
    unused = [name for name in extra if name.startswith(_PARTS)]
    surplus = [name for name in unused if not _without_effect(model, name)]
    if surplus:
        raise RuntimeError(f'the checkpoint has {len(surplus)} weights that this LocAtViT has no place for: '
                           f'{_some(surplus)}; check arch, with_pos_embed, num_registers, pre_norm and '
                           'layer_scale_init_value, or name what may be left out in allow_partial')
    broken = [name for name in own if name in renamed and not renamed[name].isfinite().all()]
    if broken:
        raise RuntimeError(f'{len(broken)} weights of the checkpoint hold NaN or infinity: {_some(broken)}')
    others = Counter(name.split('.')[0] for name in extra if not name.startswith(_PARTS))
    return LoadReport(names, nesting, len(own) - len(missing), len(own), missing, unused=unused, others=dict(others))


def without_wrapper(name: str) -> str:
    """Returns the name that a parameter or module has where FSDP wraps none."""
    return '.'.join(part for part in name.split('.') if part != '_fsdp_wrapped_module')


def _some(names: List[str]) -> str:
    return ', '.join(names[:3]) + (f' ... ({len(names)} in all)' if len(names) > 3 else '')


def _allowed(model, name: str) -> bool:
    return any(part in name for part in model.allow_partial) or (model.gaug_init is not None and '.attn.gaug.' in name)


def _without_effect(model, name: str) -> bool:
    return (any(part in name for part in model.allow_partial) or (name.startswith('ln1.') and not model.final_norm)
            or (name == 'cls_token' and model.cls_token is None))


def _recorded_grid(state_dict: Mapping, prefix: str, metadata: Optional[Mapping]) -> Optional[Grid]:
    """Returns the reference grid that the checkpoint bears: a LocAtViT's state dict does, and a converted one."""
    # Under a wrapper's name the record of the backbone is not handed to the backbone.
    whole = getattr(state_dict, '_metadata', None) or {}
    for record in [metadata or {}, *(whole.get(name) or {} for name in ('backbone', 'module.backbone', 'module', ''))]:
        if record.get('ref_grid') is not None:
            return tuple(record['ref_grid'])
    return None


def _fit_position_embedding(model, renamed: Dict[str, Tensor], report: LoadReport) -> Optional[Grid]:
    """Resizes the position embedding to the model's grid; returns the grid that it came with."""
    embedding, own = renamed.get('pos_embed'), model.pos_embed
    if embedding is None or own is None:
        return None
    if embedding.shape[2] != own.shape[2]:
        raise RuntimeError(f'the checkpoint has in another shape 1 of the weights of LocAtViT: pos_embed '
                           f'{tuple(embedding.shape)} instead of {tuple(own.shape)}; check arch')
    target, prefix = tuple(model.patch_resolution), model.num_prefix_positions
    source = _grid_of(embedding.shape[1], prefix, model)
    if source is None and model.cls_token is None and _grid_of(embedding.shape[1] - 1, prefix, model):
        embedding = embedding[:, 1:]  # the checkpoint had a class token, this model has none
        source = _grid_of(embedding.shape[1], prefix, model)
    if source is None:
        wanted = 'that of pretrain_grid' if model.pretrain_grid else 'a square grid'
        raise ValueError(f'pos_embed of the checkpoint has {embedding.shape[1]} entries, which is not {wanted} and '
                         f'{prefix} prefix entries; check with_cls_token, num_registers and no_embed_class of '
                         'LocAtViT, and give a grid that is not square as pretrain_grid=(H, W)')
    if source != target:
        report.resized.append(f'pos_embed from a grid of {source} to {target}')
    renamed['pos_embed'] = resize_position_embedding(embedding, source, target, prefix, model.interpolate_mode)
    return source


def _grid_of(entries: int, prefix: int, model) -> Optional[Grid]:
    patches, own = entries - prefix, tuple(model.patch_resolution)
    if model.pretrain_grid:
        return model.pretrain_grid if math.prod(model.pretrain_grid) == patches else None
    if patches == math.prod(own):
        return own
    side = math.isqrt(max(patches, 0))
    return (side, side) if side and side * side == patches else None


def _settle_reference_grid(model, recorded: Optional[Grid], embedded: Optional[Grid], report: LoadReport) -> None:
    """Takes the pretraining grid from the first that knows it: ref_grid=, the record, the embedding, img_size."""
    if model.kernel is None:
        return
    current = model.kernel.ref_grid
    if model.explicit_ref_grid:
        if recorded and recorded != current:
            raise RuntimeError(f'the checkpoint was pretrained on a grid of {recorded}, but ref_grid={current}; leave '
                               "ref_grid out to take the checkpoint's")
        report.ref_grid = f'{current}, as ref_grid= says'
        return
    grid, reason = _first_known((recorded, 'as the checkpoint records'),
                                (embedded, "that of the checkpoint's position embedding"))
    if grid is None:
        report.ref_grid = f'{current}, from img_size: the checkpoint names none and has no position embedding'
        return
    report.ref_grid = f'{grid}, {reason}' + (f', instead of {current} from img_size' if grid != current else '')
    if grid != current:
        model.replace_kernel(grid)


def _first_known(*choices: Tuple[Optional[Grid], str]) -> Tuple[Optional[Grid], str]:
    return next(((grid, reason) for grid, reason in choices if grid), (None, ''))
