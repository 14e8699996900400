"""What a training costs: operations counted, GPU-hours measured or from a stated speed, else unknown.

Operations of a training = images seen x FLOPs of an image. A trained module costs three forward passes (its forward
pass, and as much again for the gradients of its inputs and of its weights), a frozen one in front of it costs one. A
FLOP here is half a multiply-accumulate of ``mmlocat.analysis.flops``. Validation, data loading and optimizer are left
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

from mmengine.config import Config

from mmlocat.analysis.flops import count
from mmlocat.datasets.check.sources import SOURCES
from mmlocat.datasets.digit_scenes import DigitScenesSpec
from mmlocat.models.building import input_shape
from mmlocat.training.provenance import read_record

# Training images, where a schedule counts epochs.
_IMAGES = {
    'ImageNet': SOURCES['ImageNet'].counts['train'],
    'DigitScenesClassification': DigitScenesSpec().classification[0]
}


@dataclass(frozen=True)
class TrainingCost:
    """The cost of one training.

    Args:
        iterations: None if the size of the data set is unknown.
        flops: Of the whole training.
        gpu_hours: None if neither measured nor asked for by a stated speed.
        source: How ``gpu_hours`` came about; '' if unknown.
    """

    iterations: Optional[int]
    flops: Optional[float]
    gpu_hours: Optional[float] = None
    source: str = ''


def training_length(config: Config) -> Tuple[Optional[int], Optional[int]]:
    """Returns steps of the optimizer and images seen, repetitions included; None if the data set's size is unknown."""
    schedule, total = config.train_cfg, _total_batch(config)
    if schedule.get('max_iters'):
        # The schedule counts batches; with accumulated steps the recipe's total takes several.
        steps = schedule.max_iters // config.optim_wrapper.get('accumulative_counts', 1)
        return steps, steps * total
    dataset = config.train_dataloader.dataset
    indices = dataset.get('indices')
    length = indices if isinstance(indices, int) else len(indices) if indices else None
    length = length or _IMAGES.get(str(dataset.get('type')))
    if not length:
        return None, None
    return schedule.max_epochs * -(-length // total), schedule.max_epochs * length


def _total_batch(config: Config) -> int:
    return (config.get('auto_scale_lr') or {}).get('base_batch_size') or config.train_dataloader.batch_size


def estimate(config: Config, gpus: int, work_dir: Path, row: str, tflops: Optional[float]) -> TrainingCost:
    """Estimates a training.

    Args:
        config: With all options merged.
        gpus: Processes.
        work_dir: Of the suite; trainings of other seeds in it give the measured time of an iteration.
        row: Name of the row.
        tflops: Sustained speed of a GPU in 1e12 FLOPs a second, as the user states it; None for no assumption.

    Returns:
        The cost; fields that are not known are None.
    """
    iterations, images = training_length(config)
    flops = None if images is None else images * flops_per_image(config)
    seconds = measured_seconds(work_dir, row, gpus)
    if seconds is not None and iterations is not None:
        return TrainingCost(iterations, flops, seconds * iterations * gpus / 3600, 'measured here')
    if tflops and flops is not None:
        return TrainingCost(iterations, flops, flops / (tflops * 1e12) / 3600, f'at {tflops:g} TFLOP/s a GPU')
    return TrainingCost(iterations, flops)


def flops_per_image(config: Config) -> float:
    """Returns the FLOPs of one training image, forward and backward."""
    cost = count(config, input_shape(config))
    backbone = config.model.get('backbone') or {}
    frozen = cost.of('backbone') if (backbone.get('frozen_stages') or -1) >= _depth(backbone) else 0
    return 2. * (3 * (cost.macs - frozen) + frozen)


def _depth(backbone: dict) -> int:
    arch = backbone.get('arch')
    return arch.get('num_layers', 12) if isinstance(arch, dict) else 12


def measured_seconds(work_dir: Path, row: str, gpus: int) -> Optional[float]:
    """Returns the seconds of an iteration of a row's last training with as many processes, or None."""
    found = []
    for path in sorted(work_dir.glob(f'seed*/{row}/provenance.json')):
        for launch in (read_record(path.parent) or {}).get('launches', []):
            finished = launch['finished'] or {}
            if launch['processes'] == gpus and finished.get('seconds_per_iteration'):
                found.append((finished['date'], finished['seconds_per_iteration']))
    return max(found)[1] if found else None
