"""What happens to a checkpoint on its way into LocAtViT: names, completeness, position embedding."""

from __future__ import annotations

import math
from typing import Dict

from mmengine.logging import print_log
from torch import Tensor

from mmlocat.checkpoints import to_mmlocat_names

from .position import resize_position_embedding


def fit_backbone(model, state_dict: Dict[str, Tensor]) -> None:
    """Renames the weights of a backbone checkpoint in place, and refuses what would leave the model half loaded.

    ``init_cfg`` loads with ``strict=False`` and only logs wrong shapes, so nothing else would stop it.

    Args:
        model: A ``LocAtViT``.
        state_dict: Weights under timm's, published, mmpretrain's or our names, as ``to_mmlocat_names`` takes them.

    Raises:
        RuntimeError: A weight of the model is missing or has another shape, and ``allow_partial`` does not name it.
    """
    renamed = to_mmlocat_names(state_dict)
    own = dict(model.named_parameters())
    if not own.keys() & renamed.keys():
        raise RuntimeError(f'none of the {len(renamed)} entries of the checkpoint is a weight of LocAtViT; it has '
                           f'{", ".join(list(state_dict)[:3])} ..., wanted are {", ".join(list(own)[:3])} ...')
    missing = [name for name in own if name not in renamed]
    # The position embedding is resized afterwards.
    reshaped = [f'{name} {tuple(renamed[name].shape)} instead of {tuple(own[name].shape)}' for name in own
                if name in renamed and name != 'pos_embed' and renamed[name].shape != own[name].shape]
    for problem, names in (('lacks', missing), ('has in another shape', reshaped)):
        wrong = [name for name in names if not any(part in name for part in model.allow_partial)]
        if wrong:
            more = ' ...' if len(wrong) > 3 else ''
            raise RuntimeError(f'the checkpoint {problem} {len(wrong)} of {len(own)} weights of LocAtViT: '
                               f'{", ".join(wrong[:3])}{more}; check arch, gaug and patch_size, or name what may be '
                               'missing in allow_partial')
    if model.kernel is None and any('.attn.gaug.' in name for name in renamed):
        raise RuntimeError('the checkpoint is of a LocAtViT, this model is a plain ViT; set gaug=True')
    broken = [name for name in own if name in renamed and not renamed[name].isfinite().all()]
    if broken:
        raise RuntimeError(f'{len(broken)} weights of the checkpoint hold NaN or infinity: {", ".join(broken[:3])}')
    state_dict.clear()
    state_dict.update(renamed)


def fit_position_embedding(model, state_dict: Dict[str, Tensor], prefix: str) -> None:
    """Resizes the position embedding of a checkpoint, in place, to the pretraining grid of the model.

    Args:
        model: A ``LocAtViT``.
        state_dict: Weights under our names.
        prefix: What the model's names begin with in it.

    Raises:
        ValueError: Its number of entries is not a square grid and the model's prefix tokens.
    """
    name = prefix + 'pos_embed'
    if name not in state_dict or model.pos_embed is None:
        return
    entries = state_dict[name].shape[1]
    if model.cls_token is None and entries == model.pos_embed.shape[1] + 1:
        state_dict[name] = state_dict[name][:, 1:]  # the checkpoint had a class token, this model has none
        entries -= 1
    if entries == model.pos_embed.shape[1]:
        return
    side = math.isqrt(max(entries - model.num_prefix_positions, 0))
    if side * side + model.num_prefix_positions != entries or side == 0:
        raise ValueError(f'{name} of the checkpoint has {entries} entries, which is not a square grid and '
                         f'{model.num_prefix_positions} prefix entries; check with_cls_token, num_registers '
                         'and no_embed_class of LocAtViT')
    target = tuple(model.patch_resolution)
    state_dict[name] = resize_position_embedding(state_dict[name], (side, side), target, model.num_prefix_positions,
                                                 model.interpolate_mode)
    print_log(f'Resize {name} from a grid of {(side, side)} to {target}.', logger='current')
