"""Lets the masks of EoMT go, block by block, while it trains, so that the trained model needs none."""

from __future__ import annotations

from typing import Any, Sequence, Tuple

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn


@HOOKS.register_module()
class AnnealMasks(Hook):
    """Lowers the share of EoMT's queries that attend within their masks, from 1 to 0, in one block after the other.

    Source: *Your ViT is Secretly an Image Segmentation Model* (CVPR 2025, arXiv 2503.19108). The shares follow from the
    iteration alone, so a resumed training goes on with them.

    Args:
        span: When the first block begins and the last has ended, as parts of the training. Defaults to (1/6, 5/6).
        duration: How long a block takes, likewise. Defaults to 1/6.
        power: The share is (1 - progress) ** power. Defaults to 0.9.

    Raises:
        ValueError: The numbers do not fit each other.
    """

    def __init__(self, span: Sequence[float] = (1 / 6, 5 / 6), duration: float = 1 / 6, power: float = 0.9) -> None:
        if not isinstance(span, Sequence) or len(span) != 2:
            raise ValueError(f'span of AnnealMasks must be two numbers, when the first block begins and the last has '
                             f'ended, got {span!r}')
        begin, end = span
        if not 0 <= begin < begin + duration <= end + 1e-9 <= 1 + 1e-9:
            raise ValueError(f'span={tuple(span)} and duration={duration} of AnnealMasks must be parts of the '
                             'training, from 0 to 1, and the span as long as the duration at least')
        if not power > 0:
            raise ValueError(f'power of AnnealMasks must be positive, got {power}')
        self.begin, self.end, self.duration, self.power = begin, end, duration, power

    def shares(self, progress: float, num_blocks: int) -> Tuple[float, ...]:
        """Returns the share of each block, whose starts are evenly spread.

        Args:
            progress: The part of the training that is done.
            num_blocks: Blocks that the queries pass.
        """
        apart = (self.end - self.duration - self.begin) / max(num_blocks - 1, 1)
        done = [(progress - self.begin - apart * place) / self.duration for place in range(num_blocks)]
        return tuple((1 - min(max(part, 0.), 1.))**self.power for part in done)

    def before_train(self, runner: Runner) -> None:
        """Refuses a model that has no masks to let go.

        Raises:
            ValueError: The model is no EoMT.
        """
        if not hasattr(_head(runner), 'set_mask_shares'):
            raise ValueError('AnnealMasks in custom_hooks is for model.type=EoMT with an EoMTHead, got '
                             f'{type(_model(runner)).__name__}; take it out of custom_hooks')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Sets the shares of the iteration."""
        head = _head(runner)
        head.set_mask_shares(self.shares(runner.iter / runner.max_iters, head.num_blocks))


def _model(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _head(runner: Runner) -> Any:
    return getattr(_model(runner), 'decode_head', None)
