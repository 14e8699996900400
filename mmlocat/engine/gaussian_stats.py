"""Logs the size and scale of the Gaussians per block and head, as scalars, while a model trains."""

from __future__ import annotations

from functools import partial
from typing import Dict, List, Tuple

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from mmlocat.attention import GaussianAttention

PREFIX = 'gaug'


def tag(block: int, head: int, name: str) -> str:
    """Returns the name of a scalar of a block and a head, from 1: 'sigma', 'alpha', 'sigma_std' or 'alpha_std'."""
    return f'{PREFIX}/block{block:02d}/head{head:02d}/{name}'


@HOOKS.register_module()
class GaussianStatsHook(Hook):
    """Writes mean and spread of sigma and alpha, per block and head, to every backend of the visualiser.

    Sigma is the square root of the predicted variance, in patches, both axes together; alpha is in units of an
    attention logit. The spread is the standard deviation over the patches of a batch, and over those of all processes.
    Scalars are named ``gaug/block01/head01/sigma``, ``.../sigma_std``, ``.../alpha`` and ``.../alpha_std``;
    ``tools/analysis/gaussians.py`` draws them. They are not written to the text log, which they would fill.

    It records only every ``interval``-th iteration and costs nothing in others. With activation checkpointing a block
    runs twice, and is counted once. For a model without GAug it only logs a remark. To use it, put ``custom_hooks =
    [dict(type='GaussianStatsHook')]`` into a config, with ``mmlocat.models`` or ``mmlocat.engine`` in its imports.

    Args:
        interval: Iterations between two records. Defaults to 50.

    Raises:
        ValueError: ``interval`` is not a positive whole number.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 50) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(f'interval of GaussianStatsHook must be a positive whole number of iterations, '
                             f'got {interval!r}')
        self.interval = interval
        self._modules: List[GaussianAttention] = []
        self._handles: List[torch.utils.hooks.RemovableHandle] = []
        self._moments: Dict[int, Tensor] = {}  # by block, (5, h)

    def before_train(self, runner: Runner) -> None:
        """Finds the GAug modules of the model."""
        model: nn.Module = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._modules = [module for module in model.modules() if isinstance(module, GaussianAttention)]
        if not self._modules:
            runner.logger.info('GaussianStatsHook: this model has no GAug, so there is nothing to record.')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Listens to the modules, in an iteration that is recorded."""
        if self._modules and self.every_n_train_iters(runner, self.interval):
            self._handles = [module.listen(partial(self._hear, index)) for index, module in enumerate(self._modules)]

    def _hear(self, index: int, variance: Tensor, alpha: Tensor) -> None:
        if index not in self._moments:  # a recomputed block runs twice
            self._moments[index] = _moments(variance, alpha)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Sums the statistics over all processes and writes them."""
        if not self._handles:
            return
        for handle in self._handles:
            handle.remove()
        moments = [self._moments[index] for index in sorted(self._moments)]
        self._handles, self._moments = [], {}
        if len(moments) < len(self._modules):
            runner.logger.warning(
                f'GaussianStatsHook heard of {len(moments)} of {len(self._modules)} blocks in iteration '
                f'{runner.iter + 1} and records none: a compiled model calls no hooks; leave compile out to record.')
            return
        counts = [entry.shape[1] for entry in moments]
        gathered = torch.cat(moments, dim=1)  # one message and one copy from the device for all blocks
        all_reduce(gathered)
        runner.visualizer.add_scalars(_scalars(gathered.cpu().split(counts, dim=1)), step=runner.iter + 1)


@torch.no_grad()
def _moments(variance: Tensor, alpha: Tensor) -> Tensor:
    """Returns the number of Gaussians, and sum and sum of squares of sigma and of alpha, (5, h)."""
    # A spread much smaller than the mean needs float64, which Apple's GPUs do not have.
    dtype = torch.float32 if alpha.device.type == 'mps' else torch.float64
    variance, alpha = variance.detach().to(dtype), alpha.detach().to(dtype)
    count = torch.full((alpha.shape[1], ), float(alpha[:, 0].numel()), dtype=alpha.dtype, device=alpha.device)
    # The square of sigma is the variance itself. Sums over the two axes are halved, so that one count serves both.
    over = (0, 2, 3)
    return torch.stack([count, variance.sqrt().sum(over) / 2, variance.sum(over) / 2, alpha.sum(over),
                        alpha.square().sum(over)])


def _scalars(blocks: Tuple[Tensor, ...]) -> Dict[str, float]:
    scalars = {}
    for block, moments in enumerate(blocks, 1):
        for head, (count, *sums) in enumerate(moments.T.tolist(), 1):
            for name, total, squares in (('sigma', *sums[:2]), ('alpha', *sums[2:])):
                mean = total / count
                scalars[tag(block, head, name)] = mean
                scalars[tag(block, head, f'{name}_std')] = max(0.0, squares / count - mean**2)**0.5
    return scalars
