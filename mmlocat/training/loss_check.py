"""Tries the losses of segmentation heads on ignored pixels, which some of MMSegmentation's cannot take."""

from __future__ import annotations

import copy
from typing import List

import mmseg
import torch
from mmengine.config import Config
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from torch import nn

from mmlocat.utils import first_line

from .context import Context


def check_losses(config: Config, context: Context) -> List[str]:
    """Calls each loss on labels of which some, then all, are ignored; heads that compute their losses otherwise pass.

    MMSegmentation's cross-entropy fails with ``class_weight`` where a pixel is ignored in 1.2.2, in OneDL's 1.4 with
    ``class_weight`` and ``avg_non_ignore`` together, and in both with ``class_weight`` and ``use_sigmoid``. A loss that
    only fails where every pixel of a batch is ignored is a remark: most data have no such batch.

    Raises:
        ValueError: A cross-entropy cannot take ignored pixels, or any.
    """
    remarks = []
    for name, head in context.model.named_modules():
        if not isinstance(head, BaseDecodeHead) or type(head).loss_by_feat is not BaseDecodeHead.loss_by_feat:
            continue
        losses = head.loss_decode if isinstance(head.loss_decode, nn.ModuleList) else [head.loss_decode]
        for loss in losses:
            kind = type(loss).__name__
            always = _problem(loss, head, 0, 0)
            problem = always or _problem(loss, head, 0, head.ignore_index)
            if problem and isinstance(loss, CrossEntropyLoss):
                what = 'fails on any labels, with' if always else 'fails where a pixel is ignored, with'
                raise ValueError(f'model.{name}.loss_decode: {kind} of MMSegmentation {mmseg.__version__} {what} '
                                 f'{_advice(loss, head, problem)}')
            problem = _problem(loss, head, head.ignore_index, head.ignore_index)
            if problem and not always:
                remarks.append(f'model.{name}.loss_decode: {kind} has no value where every pixel of a batch is ignored '
                               f'({problem}); leave out images without labels, or choose another loss')
    return remarks


def _advice(loss: CrossEntropyLoss, head: BaseDecodeHead, problem: str) -> str:
    """Returns the settings with which a loss has this problem, the problem, and what to change."""
    settings = {key: getattr(loss, key, None) for key in ('class_weight', 'avg_non_ignore', 'use_sigmoid')}
    # MMSegmentation reads weights from a file, of .npy into an array.
    given = [f'{key}={value.tolist() if hasattr(value, "tolist") else value}' for key, value in settings.items()
             if value is not None and value is not False]
    weights = _weights(loss)
    if weights not in (0, head.out_channels):
        change = f'class_weight has {weights} numbers and the head {head.out_channels} outputs: give one for each'
    else:
        change = f'leave {"one of them" if len(given) > 1 else "it"} out'
    return f'{" and ".join(given) or "its settings"} ({problem}); {change}'


def _weights(loss: nn.Module) -> int:
    """Returns how many class weights a loss has, 0 without."""
    weights = getattr(loss, 'class_weight', None)
    return len(weights) if hasattr(weights, '__len__') else 0


def _problem(loss: nn.Module, head: BaseDecodeHead, first: int, others: int) -> str:
    """Returns what goes wrong when the head calls a loss on a row of pixels; '' if nothing does.

    It is tried on the CPU: CUDA would tell of a wrong index later, and be of no use after that.

    Args:
        loss: One of the head's losses.
        head: A head.
        first: The label of the first pixel.
        others: That of the others.
    """
    classes = head.out_channels
    # As many pixels as weights would be multiplied by accident.
    width = next(width for width in (3, 4, 5) if width not in (classes, _weights(loss)))
    labels = torch.tensor([[[first] + [others] * (width - 1)]])
    try:
        with torch.no_grad():
            value = copy.deepcopy(loss).cpu()(torch.zeros(1, classes, 1, width), labels, weight=None,
                                              ignore_index=head.ignore_index).mean()  # the mean of nothing is NaN
    except Exception as error:  # a loss may be anybody's
        return f'{type(error).__name__}: {first_line(error)}'
    return '' if value.isfinite() else f'it is {value.item()}'
