"""What several processes of one training tell: one loss, the mean of all; and the launcher, where the log is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

import torch
from mmengine.dist import all_reduce_dict, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmlocat.launch import LOG_NOTE


class MeanLossHook(Hook):
    """Logs the mean of every loss over all processes.

    mmengine logs those of the first process, which saw its own share of the batch alone. Gradients are averaged
    anyhow; with this the log of a training says what one process with the same total batch would say.
    """

    priority = 'HIGHEST'  # before mmengine's RuntimeInfoHook takes the losses

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: Optional[dict] = None) -> None:
        """Averages, in place, what the model returned for the log."""
        if get_world_size() == 1 or not outputs:
            return
        scalars = {name: value.detach().float().clone() for name, value in outputs.items()
                   if isinstance(value, torch.Tensor) and value.numel() == 1}
        all_reduce_dict(scalars, op='mean')
        outputs.update(scalars)


def note_log(runner: Runner) -> None:
    """Tells the launcher, if ``mmlocat.launch`` is one, where this run's log is.

    Args:
        runner: The runner, built.
    """
    note = os.environ.get(LOG_NOTE)
    if note and int(os.environ.get('LOCAL_RANK', 0)) == 0:
        Path(note).write_text(str(Path(runner.log_dir) / f'{runner.timestamp}.log'), encoding='utf-8')
