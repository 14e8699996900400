"""Estimates what suites and single configs cost on a GPU, from counted operations; nothing here is measured.

FLOPs of a training: images seen x 2 x multiply-accumulates of one image, three times for what is trained (forward,
gradients of inputs, gradients of weights) and once for a frozen backbone, whose small head counts with it. The
multiply-accumulates are those of the model index, counted by ``mmlocat.analysis.flops``. Hours follow from speeds that
are assumptions. Left out: validation, tests after a training, data loading, communication.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import torch
from mmengine.config import Config

from mmlocat import zoo
from mmlocat.analysis.flops import count
from mmlocat.analysis.recipe import quiet_mmengine
from mmlocat.config import load_config
from mmlocat.datasets.check.sources import SOURCES
from mmlocat.experiments.leaderboard.metafiles import count_costs
from mmlocat.experiments.leaderboard.names import LAPTOP, parse
from mmlocat.models.building import build_model
from mmlocat.utils import share_folder, with_progress
from mmlocat.utils.tables import Table

from .rows import load_suite

HALF, SINGLE = 100e12, 10e12  # FLOP/s: a third and a half of an A100's stated peaks, 312 and 19.5 TFLOP/s
# Single trainings that the page shows beside the suites.
EXAMPLES = ('locatvit-tiny_imagenet', 'locatvit-small_imagenet', 'locatvit_imagenet', 'locatvit-tiny_linear_ade20k',
            'locatvit_linear_ade20k', 'locatvit-tiny_upernet_ade20k', 'locatvit_upernet_ade20k')
_IMAGES = {
    'imagenet': SOURCES['ImageNet'].counts,
    'ade20k': SOURCES['ADE20KDataset'].counts,
    'voc2012': {'train': 10582, 'val': 1449},  # trainaug, val
    'mini-imagenet': {'train': 60000}  # 600 a class, an upper bound: how many of them train is not known
}


@dataclass(frozen=True)
class Cost:
    """What some jobs cost: how many they are, images that they see, operations, and hours on one GPU."""

    jobs: int = 0
    images: int = 0
    flops: float = 0.
    hours: float = 0.

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.jobs + other.jobs, self.images + other.images, self.flops + other.flops,
                    self.hours + other.hours)

    def times(self, number: int) -> Cost:
        """Returns the cost of so many."""
        return Cost(self.jobs * number, self.images * number, self.flops * number, self.hours * number)


@lru_cache(maxsize=None)
def config_cost(name: str) -> Tuple[str, Cost]:
    """Estimates one training of a shipped leaf, or one test of a leaf that only tests.

    Args:
        name: Of the leaf, such as 'locatvit_imagenet'.

    Returns:
        Which part of a suite it is ('pretraining', 'heads' or 'tests alone'), and what it costs.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: How many images its data set has is not known.
    """
    config, leaf = load_config(str(share_folder() / 'configs' / f'{name}.py')), parse(name)
    entry = _index().get(name)
    macs = entry['Metadata']['FLOPs'] if entry else count_costs(leaf)[1]
    if not config.get('train_dataloader'):
        return 'tests alone', _test_cost(config, leaf.dataset, macs)
    length = config.train_cfg.get('max_iters')
    images = length * config.auto_scale_lr.base_batch_size if length else (
        config.train_cfg.max_epochs * _images(leaf.dataset, 'train'))
    frozen = config.model.backbone.get('frozen_stages', -1) > 0
    per_image = macs * (1 if frozen else 3)
    if leaf.head == 'dino':  # two crops of 224 px that the teacher sees too, and eight of 96 px
        per_image = 2 * macs * (3 + 1) + 8 * 3 * count(config, (96, 96)).macs
    flops = 2. * per_image * images
    speed = HALF if config.optim_wrapper.type == 'AmpOptimWrapper' else SINGLE
    part = 'pretraining' if leaf.head in ('', 'dino') else 'heads'
    return part, Cost(1, images, flops, flops / speed / 3600)


def _test_cost(config: Config, dataset: str, macs: int) -> Cost:
    """Estimates an evaluation without a head: features of memory and queries, and the search of all pairs."""
    memory, queries = (_images(dataset, split) for split in ('train', 'val'))
    with torch.no_grad():
        features = build_model(config, 'meta').extract_feat(torch.zeros(1, 3, 224, 224, device='meta'))
    shape = (features[-1] if isinstance(features, (tuple, list)) else features).shape
    places = shape[2:].numel()  # 1 for k-NN, which has a feature an image
    flops = 2. * macs * (memory + queries) + 2. * shape[1] * places**2 * memory * queries
    return Cost(1, memory + queries, flops, flops / SINGLE / 3600)


@lru_cache(maxsize=None)
def _index() -> Dict[str, dict]:
    return zoo.models()


def _images(dataset: str, split: str) -> int:
    if split not in _IMAGES.get(dataset, {}):
        raise ValueError(f'how many images {dataset} has for {split} is not known; costs are estimated for '
                         f'{", ".join(_IMAGES)}')
    return _IMAGES[dataset][split]


def suites() -> List[str]:
    """Returns the shipped suites that need GPUs: all but those at laptop scale."""
    names = sorted(path.stem for path in (share_folder() / 'configs' / 'suites').glob('*.yml'))
    return [name for name in names if parse(load_suite(name).rows[0].config.stem).dataset not in LAPTOP]


def cost_table(names: Sequence[str], show: bool = False) -> Table:
    """Makes the table of what suites and single trainings cost.

    Args:
        names: Of suites and of shipped leaves.
        show: Whether to print each row as it comes.

    Returns:
        A line for each part of a suite, and for each leaf.

    Raises:
        FileNotFoundError: A name is neither.
    """
    table = Table(['what', 'part', 'jobs', 'images, M', 'PFLOP', 'GPU-hours'], words=2)
    add = partial(table.print_row, widths=[30, 11, 4, 9, 12, 9]) if show else table.add
    for name in names:
        jobs_of(name)  # an unknown one is refused before the first is counted
    for name in with_progress(names, str):
        parts: Dict[str, Cost] = {}
        with quiet_mmengine():
            for leaf, seeds in jobs_of(name):
                part, cost = config_cost(leaf)
                parts[part] = parts.get(part, Cost()) + cost.times(seeds)
        for part, cost in parts.items():
            add(name, part, f'{cost.jobs:,}', f'{cost.images / 1e6:,.1f}', f'{cost.flops / 1e15:,.0f}',
                f'{cost.hours:,.1f}' if cost.hours < 10 else f'{cost.hours:,.0f}')
    return table


def jobs_of(name: str) -> List[Tuple[str, int]]:
    """Returns the leaves of a suite with their number of seeds, or the one of a config."""
    leaf = Path(name).stem
    if (share_folder() / 'configs' / f'{leaf}.py').is_file():
        return [(leaf, 1)]
    try:
        return [(row.config.stem, len(row.seeds)) for row in load_suite(name).rows]
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{error}; nor is it a config in configs/, such as {EXAMPLES[0]}') from error
