"""What ``GaussianStatsHook`` costs: all that it does for one record, in turns with a training step."""

from __future__ import annotations

import tempfile
from types import SimpleNamespace
from typing import Any, Callable, NamedTuple, Tuple

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.visualization import Visualizer
from mmpretrain.structures import DataSample
from torch import nn

from mmlocat.attention import GaussianAttention
from mmlocat.engine.gaussian_stats import GaussianStatsHook

from .measure import Ratio, in_turns

STEP, RECORD = 'training step', 'record'


class Cost(NamedTuple):
    """What the hook adds to a training.

    Args:
        step: A training step without the hook.
        record: One record: listening, gathering, writing to a local file; its ratio is to ``step``.
        interval: Iterations between two records.
    """

    step: Ratio
    record: Ratio
    interval: int

    @property
    def share(self) -> float:
        """What the hook adds to a step on average, as a share of it."""
        return self.record.ratio / self.interval


def _step(config: Config, batch: int, device: str) -> Tuple[nn.Module, Callable[[], Any]]:
    """Returns a model and one training step, on random images of its pretraining size."""
    backbone = config.model.get('backbone') or {}
    if config.get('default_scope') != 'mmpretrain' or 'img_size' not in backbone or not backbone.get('gaug', True):
        raise ValueError('the cost is measured on a LocAtViT classifier whose config names img_size, such as '
                         'configs/locatvit-nano_digitscenes.py')
    init_default_scope('mmpretrain')
    # The config draws its data preprocessor from its data set.
    preprocessor = config.get('data_preprocessor')
    model = MODELS.build({**config.model, 'data_preprocessor': preprocessor} if preprocessor else config.model)
    model.to(device).train()
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters()))
    images = torch.randint(0, 256, (batch, 3, backbone.img_size, backbone.img_size), dtype=torch.uint8)
    samples = [DataSample().set_gt_label(i % 10) for i in range(batch)]
    return model, lambda: model.train_step(dict(inputs=images, data_samples=samples), wrapper)


def measure(config: Config, batch: int, device: str, seconds: float, interval: int = 50) -> Cost:
    """Measures a training step, and by itself what ``GaussianStatsHook`` does for one record of such a step.

    By itself, because on most machines two training steps differ by more than a record takes.

    Args:
        config: Of a classifier.
        batch: Images a step.
        device: Such as 'cpu' or 'cuda'.
        seconds: How long the turns go on.
        interval: Iterations between two records; only the share depends on it.

    Raises:
        ValueError: The config is of no classifier with GAug.
    """
    model, step = _step(config, batch, device)
    gaug = [module for module in model.modules() if isinstance(module, GaussianAttention)]
    calls = {}
    handles = [module.register_forward_pre_hook(
        lambda module, args, kwargs: calls.update({module: (args, kwargs)}), with_kwargs=True) for module in gaug]
    step()
    for handle in handles:
        handle.remove()
    hook = GaussianStatsHook(interval=1)
    with tempfile.TemporaryDirectory() as folder:
        visualizer = Visualizer(vis_backends=[dict(type='LocalVisBackend')], save_dir=folder)
        runner = SimpleNamespace(model=model, iter=0, visualizer=visualizer)
        hook.before_train(runner)

        def record() -> None:
            hook.before_train_iter(runner, 0)
            for module in gaug:  # as PyTorch calls them in a step
                for listener in list(module._forward_pre_hooks.values()):
                    listener(module, *calls[module])
            hook.after_train_iter(runner, 0)

        times = in_turns({STEP: step, RECORD: record}, STEP, device, seconds, min_turns=10)
    return Cost(times[STEP], times[RECORD], interval)
