"""Gathers what the demo measured and prints it."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.evaluation import IoUMetric
from mmseg.registry import DATASETS, MODELS
from PIL import Image
from rich.console import Console
from rich.table import Table

from mmlocat.utils import atomic_write, share_folder

from .plan import ARMS, SeedPlan
from .run import is_done

HEADS = {'linear': 'one layer, frozen', 'upernet': 'UperNet, fine-tuned'}


@dataclass
class Result:
    """The figures of one arm and one seed.

    Args:
        arm: Key of ``ARMS``.
        head: 'linear' or 'upernet'.
        seed: Of weights and data order.
        miou: In percent, test split.
        iou: In percent, by class; NaN where neither prediction nor truth has the class.
        top1: Of the classifier, in percent, test split; None for an untrained backbone.
        parameters: Of backbone and head.
    """

    arm: str
    head: str
    seed: int
    miou: float
    iou: List[float]
    top1: Optional[float]
    parameters: int


@dataclass
class Summary:
    """All results, with class names and speeds.

    Args:
        classes: Names of the 11 classes.
        results: One for each arm, head and seed.
        speed: Images a second by 'arm head'.
    """

    classes: Sequence[str]
    results: List[Result] = field(default_factory=list)
    speed: Dict[str, float] = field(default_factory=dict)

    def groups(self) -> Dict[str, List[Result]]:
        """Returns results by 'arm head', in the order of ``ARMS``."""
        keys = [f'{arm} {head}' for head in HEADS for arm in ARMS]
        grouped = {key: [r for r in self.results if f'{r.arm} {r.head}' == key] for key in keys}
        return {key: sorted(rows, key=lambda r: r.seed) for key, rows in grouped.items() if rows}

    def save(self, path: Path) -> None:
        """Writes everything as JSON."""
        with atomic_write(path) as file:
            json.dump(
                dict(
                    date=time.strftime('%Y-%m-%d'),
                    classes=self.classes,
                    speed=self.speed,
                    results=[vars(result) for result in self.results]),
                file,
                indent=2)


def segmentation_config(arm: str, head: str) -> Config:
    """Reads the config of an arm's segmentation model, with its initial weights left out."""
    config = Config.fromfile(share_folder() / 'configs' / getattr(ARMS[arm], head))
    config.model.backbone.init_cfg = None
    init_default_scope(config.default_scope)
    return config


def test_scenes() -> torch.utils.data.Dataset:
    """Returns the test split of DigitScenes for segmentation."""
    return DATASETS.build(segmentation_config('vit', 'linear').test_dataloader.dataset)


def class_iou(predictions: Path, dataset) -> np.ndarray:
    """Computes the IoU of each class, in percent, from predicted label maps, by mmseg's own metric.

    Args:
        predictions: Folder of PNG files named as the images.
        dataset: The split they belong to.

    Returns:
        Shape (classes,).

    Raises:
        FileNotFoundError: A prediction is missing.
    """
    areas = []
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        maps = [Path(predictions) / f'{Path(info["img_path"]).stem}.png', info['seg_map_path']]
        prediction, truth = (torch.from_numpy(np.array(Image.open(path)).astype(np.int64)) for path in maps)
        areas.append(IoUMetric.intersect_and_union(prediction, truth, len(dataset.metainfo['classes']), 255))
    totals = [sum(area) for area in zip(*areas)]
    return IoUMetric.total_area_to_metrics(*totals, ['mIoU'])['IoU'] * 100


def collect(plans: Sequence[SeedPlan]) -> Summary:
    """Reads the results of all plans; what is missing or stale is left out.

    Args:
        plans: One a seed.
    """
    dataset = test_scenes()
    summary = Summary(dataset.metainfo['classes'])
    counts: Dict[str, int] = {}
    for plan in plans:
        done = {step.folder for step in plan.steps if is_done(step)}
        for arm in ARMS:
            metrics = plan.root / arm / 'pretrain_test' / 'metrics.json'
            top1 = json.loads(metrics.read_text())['accuracy/top1'] if metrics.parent in done else None
            for head in HEADS:
                folder = plan.root / arm / f'{head}_test'
                if folder not in done:
                    continue
                iou = class_iou(folder / 'predictions', dataset)
                config = getattr(ARMS[arm], head)
                if config not in counts:
                    model = MODELS.build(segmentation_config(arm, head).model)
                    counts[config] = sum(parameter.numel() for parameter in model.parameters())
                summary.results.append(
                    Result(arm, head, plan.seed, float(np.nanmean(iou)), iou.tolist(), top1, counts[config]))
    return summary


def measure_speed(summary: Summary, batch: int = 32, rounds: int = 7) -> None:
    """Measures images a second of each model on this machine, in turn, and keeps the medians.

    Args:
        summary: Its groups are measured; ``speed`` is filled.
        batch: Images a call.
        rounds: Calls of each model, interleaved.
    """
    models = {}
    for key in summary.groups():
        arm, head = key.split()
        models[key] = MODELS.build(segmentation_config(arm, head).model).eval()
    images = torch.randn(batch, 3, 36, 36)
    seconds: Dict[str, List[float]] = {key: [] for key in models}
    with torch.no_grad():
        for _ in range(rounds + 1):
            for key, model in models.items():
                begin = time.perf_counter()
                model(images)
                seconds[key].append(time.perf_counter() - begin)
    summary.speed = {key: batch / statistics.median(times[1:]) for key, times in seconds.items()}


def mean_and_spread(values: Sequence[float]) -> str:
    """Formats a mean, with the sample standard deviation if there are several values."""
    if len(values) == 1:
        return f'{values[0]:.1f}'
    return f'{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}'


def rows(summary: Summary) -> List[List[str]]:
    """Returns the main table as text, header first."""
    table = [['model', 'head', 'top-1 %', 'mIoU %', 'parameters', 'images/s']]
    for key, group in summary.groups().items():
        tops = [result.top1 for result in group if result.top1 is not None]
        table.append([
            ARMS[group[0].arm].title, HEADS[group[0].head],
            mean_and_spread(tops) if tops else 'untrained', mean_and_spread([result.miou for result in group]),
            f'{group[0].parameters:,}', f'{summary.speed[key]:.0f}' if key in summary.speed else ''
        ])
    return table


def seed_rows(summary: Summary) -> List[List[str]]:
    """Returns every single run as text, header first: what the means are made of."""
    table = [['model', 'head', 'seed', 'top-1 %', 'mIoU %', *summary.classes]]
    for group in summary.groups().values():
        for result in group:
            top1 = 'untrained' if result.top1 is None else f'{result.top1:.1f}'
            table.append([ARMS[result.arm].title, HEADS[result.head], str(result.seed), top1, f'{result.miou:.1f}',
                          *(f'{value:.1f}' for value in result.iou)])
    return table


def class_rows(summary: Summary) -> List[List[str]]:
    """Returns the IoU of each class as text, mean over seeds, header first."""
    groups = summary.groups()
    titles = [ARMS[g[0].arm].title + (' + UperNet' if g[0].head == 'upernet' else '') for g in groups.values()]
    table = [['IoU %', *titles]]
    for index, name in enumerate(summary.classes):
        table.append([name, *(f'{np.nanmean([r.iou[index] for r in g]):.1f}' for g in groups.values())])
    return table


def markdown(table: List[List[str]]) -> str:
    """Formats rows as a Markdown table, the first one as its header."""
    header, *body = table
    lines = [header, ['---'] * len(header), *body]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'


def show(console: Console, title: str, table: List[List[str]]) -> None:
    """Prints rows as a table."""
    header, *body = table
    grid = Table(title=title, title_justify='left')
    for index, name in enumerate(header):
        grid.add_column(name, justify='left' if index < 1 or name == 'head' else 'right')
    for line in body:
        grid.add_row(*line)
    console.print(grid)


def verdict(summary: Summary) -> str:
    """Says what the seeds at hand show of LocAtViT against ViT, and no more."""
    groups = summary.groups()
    if 'vit linear' not in groups or 'locatvit linear' not in groups:
        return ''
    plain = {result.seed: result.miou for result in groups['vit linear']}
    differences = [r.miou - plain[r.seed] for r in groups['locatvit linear'] if r.seed in plain]
    better = sum(difference > 0 for difference in differences)
    return (f'Frozen features: LocAtViT against ViT {mean_and_spread(differences)} mIoU points (paired by seed), '
            f'higher in {better} of {len(differences)} runs. '
            'These are small models on small images; the size of a gap need not carry over.')
