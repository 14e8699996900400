"""Measures what GAug costs in the windows of LocAtSwin: the whole window attention, with its projections, by stage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Dict, Iterator, List, Tuple

import torch

from mmlocat.models import LocAtSwin
from mmlocat.models.backbones.swin_layers import shift_mask
from mmlocat.utils.kept_rows import Call, measure_now

from .measure import Ratio, in_turns


@dataclass(frozen=True)
class Stage:
    """The time of the window attention of one stage's blocks in one forward pass, of LocAtSwin beside Swin.

    Attributes:
        name: 'stage 1' and so on, or 'all stages'.
        blocks: Number of blocks.
        plain: Seconds of the plain Swin, all blocks together.
        gaug: Seconds with GAug, and the ratio to the plain Swin's with its quartiles.
    """
    name: str
    blocks: int
    plain: float
    gaug: Ratio


def measure(arch: str, img_size: int, batch: int, device: str, seconds: float,
            call: Call = measure_now) -> Iterator[Stage]:
    """Times each stage, then all, in turns with the plain Swin's.

    Args:
        arch: Of ``LocAtSwin``.
        img_size: Of pretraining and of the images, in px.
        batch: Images.
        device: Such as 'cpu'.
        seconds: Time for the turns of a stage.
        call: Calls each stage's measurement; ``KeptRows.call`` keeps what it gives.
    """
    kinds = {name: LocAtSwin(arch, img_size, gaug=name == 'gaug').eval().to(device) for name in ('plain', 'gaug')}
    stages = range(len(kinds['plain'].layers))
    for part, numbers in [*((f'stage {number + 1}', [number]) for number in stages), ('all stages', list(stages))]:
        plain, ratio = call(dict(arch=arch, img_size=img_size, batch=batch, device=device, seconds=seconds, part=part),
                            partial(_race, kinds, numbers, batch, device, seconds))
        yield Stage(part, sum(len(kinds['plain'].layers[number].blocks) for number in numbers), plain, Ratio(*ratio))


def _race(kinds: Dict[str, LocAtSwin], numbers: List[int], batch: int, device: str, seconds: float
          ) -> Tuple[float, Ratio]:
    """Times the windows of some stages with GAug in turns with plain ones; returns plain seconds, and GAug's time."""
    calls = {name: partial(_attend, [_inputs(model, number, batch, device) for number in numbers])
             for name, model in kinds.items()}
    times = in_turns(calls, 'plain', device, seconds)
    return times['plain'].seconds, times['gaug']


def _inputs(model: LocAtSwin, number: int, batch: int, device: str) -> List[tuple]:
    """Returns the window attentions of a stage with the tokens and masks that they get in a forward pass."""
    side = model.img_size[0] // model.patch_size[0] // 2**number
    calls = []
    for block in model.layers[number].blocks:
        padded = tuple(-(-side // length) * length for length in block.window)
        windows = padded[0] * padded[1] // (block.window[0] * block.window[1])
        tokens = torch.randn(batch * windows, block.window[0] * block.window[1], block.norm1.normalized_shape[0],
                             device=device)
        shifted = any(block.shift)
        mask = shift_mask(padded, block.window, block.shift, device).repeat(batch, 1, 1) if shifted else None
        calls.append((block.attn, tokens, mask))
    return calls


@torch.no_grad()
def _attend(stages: List[List[tuple]]) -> None:
    for calls in stages:
        for attention, tokens, mask in calls:
            attention(tokens, mask)
