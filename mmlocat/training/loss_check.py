"""Tries the losses of segmentation heads on ignored pixels, which some of MMSegmentation's cannot take."""

from __future__ import annotations

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

    MMSegmentation's cross-entropy fails with ``class_weight`` where a pixel is ignored in 1.2.2, and in OneDL's 1.4
    with ``class_weight`` and ``avg_non_ignore`` together. A loss that only fails where every pixel of a batch is
    ignored is a remark: most data have no such batch.

    Raises:
        ValueError: A cross-entropy cannot take ignored pixels.
    """
    remarks = []
    for name, head in context.model.named_modules():
        if not isinstance(head, BaseDecodeHead) or type(head).loss_by_feat is not BaseDecodeHead.loss_by_feat:
            continue
        losses = head.loss_decode if isinstance(head.loss_decode, nn.ModuleList) else [head.loss_decode]
        for loss in losses:
            kind = type(loss).__name__
            problem = _problem(loss, head, [0, head.ignore_index])
            if problem and isinstance(loss, CrossEntropyLoss):
                given = [f'{key}={getattr(loss, key)}' for key in ('class_weight', 'avg_non_ignore')
                         if getattr(loss, key, None)]
                raise ValueError(f'model.{name}.loss_decode: {kind} of MMSegmentation {mmseg.__version__} fails where '
                                 f'a pixel is ignored, with {" and ".join(given) or "its settings"} ({problem}); leave '
                                 f'{"one of them" if len(given) > 1 else "it"} out')
            problem = _problem(loss, head, [head.ignore_index] * 2)
            if problem and not _problem(loss, head, [0, 0]):
                remarks.append(f'model.{name}.loss_decode: {kind} has no value where every pixel of a batch is ignored '
                               f'({problem}); leave out images without labels, or choose another loss')
    return remarks


def _problem(loss: nn.Module, head: BaseDecodeHead, labels: List[int]) -> str:
    """Returns what goes wrong when the head calls a loss on a row of pixels with these labels; '' if nothing does."""
    device = next(head.parameters()).device
    logits = torch.zeros(1, head.out_channels, 1, len(labels), device=device)
    try:
        with torch.no_grad():
            value = loss(logits, torch.tensor([[labels]], device=device), weight=None,
                         ignore_index=head.ignore_index).mean()  # the mean of nothing is NaN
    except Exception as error:  # a loss may be anybody's
        return f'{type(error).__name__}: {first_line(error)}'
    return '' if value.isfinite() else f'it is {value.item()}'
