"""Logs the mean loss over all processes of a training."""

from __future__ import annotations

from typing import Optional

import torch
from mmengine.dist import all_reduce_dict, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner


class MeanLossHook(Hook):
    """Logs the mean of every loss over all processes.

    mmengine logs the losses of the first process, which cover only its share of the batch. Gradients are averaged
    in any case; with this hook the log reads as that of one process with the same total batch.
    """

    priority = 'HIGHEST'  # before mmengine's RuntimeInfoHook reads the losses

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: Optional[dict] = None) -> None:
        """Averages, in place, what the model returned for the log."""
        if get_world_size() == 1 or not outputs:
            return
        scalars = {name: value.detach().float().clone() for name, value in outputs.items()
                   if isinstance(value, torch.Tensor) and value.numel() == 1}
        all_reduce_dict(scalars, op='mean')
        outputs.update(scalars)
