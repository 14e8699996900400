"""What a suite has measured: a table, what it says of two rows, and a picture of what these predict."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Dict, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mmengine.registry import init_default_scope
from mmseg.apis import inference_model
from mmseg.registry import DATASETS as SPLITS
from PIL import Image

from mmlocat.experiments.leaderboard.board import Row, mean_and_spread
from mmlocat.experiments.leaderboard.names import DATASETS, HEADS, metric
from mmlocat.experiments.leaderboard.output import provenance, to_json
from mmlocat.experiments.leaderboard.runs import gather
from mmlocat.models.building import load_model
from mmlocat.utils import atomic_write
from mmlocat.utils.tables import Table

from .plan import Trial
from .rows import Suite

# What is evaluated without training a head, and the column that shows it.
_EVALUATIONS = {'knn': 'k-NN %', 'dino-knn': 'k-NN %', 'hummingbird': 'retrieval mIoU %'}


class Report:
    """The figures of a suite's rows.

    Args:
        suite: The suite.
        trials: Its trials; those whose tests are not done are left out.
        work_dir: Where they lie; ``write`` puts its files there.
    """

    def __init__(self, suite: Suite, trials: Sequence[Trial], work_dir: Path) -> None:
        self.suite, self.work_dir = suite, work_dir
        self.rows: Dict[str, Row] = {}
        done = [trial for trial in trials if trial.test is not None and trial.test.done]
        folders = [job.folder for trial in trials for job in trial.jobs if job.done]
        by_folder = {run.folder: run for run in gather(folders)} if done else {}
        for row in suite.rows:
            runs = [by_folder[trial.test.folder.resolve()] for trial in done if trial.row.name == row.name]
            if runs:
                self.rows[row.name] = Row(runs[0].leaf.entry, runs, title=row.title)

    def table(self) -> Table:
        """Returns a line a row, means over seeds.

        A classifier stands in the lines of the heads that start from it, and so does what is evaluated without a head.
        """
        data = dict.fromkeys(DATASETS.get(row.entry.dataset, row.entry.dataset) for row in self.rows.values())
        measured = [head for head in _EVALUATIONS if any(row.entry.head == head for row in self.rows.values())]
        table = Table(['model', 'head', 'top-1 %', *(_EVALUATIONS[head] for head in measured), 'mIoU %', 'parameters'],
                      f'{", ".join(data)}, test split', words=2)
        for name, row in self.rows.items():
            head, own = row.entry.head, self._of_one_classifier(name)
            trained = [other for other in own if other and other not in _EVALUATIONS]
            if head not in (trained or ([''] if '' in own else own)):
                continue
            planned, by_top1 = self.suite.row(name), metric(head)[0] == 'accuracy/top1'
            classifier = row if by_top1 else own.get('')
            untrained = 'untrained' if '--allow-random-backbone' in planned.train_args else ''
            table.add(row.title, HEADS[head], mean_and_spread(classifier.values, 1) if classifier else untrained,
                      *(mean_and_spread(own[other].values, 1) if other in own else '' for other in measured),
                      mean_and_spread(row.values, 1) if head in trained and not by_top1 else '',
                      f'{row.parameters:,}' if row.parameters else '')
        return table

    def _of_one_classifier(self, name: str) -> Dict[str, Row]:
        """Returns, by head, the row of a name with the classifier it starts from and what else starts there."""
        start = name if not self.rows[name].entry.head else self.suite.row(name).parent
        others = {row.entry.head: row for key, row in self.rows.items() if start is not None and (
            key == start or row.entry.head and self.suite.row(key).parent == start)}  # no classifier trained on
        return {**others, self.rows[name].entry.head: self.rows[name]}

    def verdict(self) -> str:
        """Says what the seeds at hand show of the two rows that the suite compares, and no more."""
        if not self.suite.compare or not set(self.suite.compare) <= set(self.rows):
            return ''
        first, second = (self.rows[name] for name in self.suite.compare)
        base = {run.seed: run.value for run in first.runs}
        differences = [run.value - base[run.seed] for run in second.runs if run.seed in base]
        if not differences:
            return ''
        head, better = second.entry.head, sum(difference > 0 for difference in differences)
        return (f'{HEADS[head].capitalize()}: {second.title} against {first.title} '
                f'{mean_and_spread(differences, 1)} {metric(head)[0]} points (paired by seed), '
                f'higher in {better} of {len(differences)} runs. '
                'These are small models on small images; the size of a gap need not carry over.')

    def markdown(self) -> str:
        """Returns the table, the verdict, and on what both were measured."""
        runs = [run for row in self.rows.values() for run in row.runs]
        return '\n\n'.join(filter(None, [self.table().markdown(), self.verdict(), provenance(runs)])) + '\n'

    def write(self) -> None:
        """Writes summary.md, and summary.json with the full records; nothing where nothing is measured."""
        if not self.rows:
            return
        with atomic_write(self.work_dir / 'summary.json') as file:
            file.write(to_json(self.rows.values()))
        with atomic_write(self.work_dir / 'summary.md') as file:
            file.write(self.markdown())


def draw_trials(path: Path, trials: Sequence[Trial], count: int = 8) -> None:
    """Draws what trained segmentors make of the first scenes of their test split.

    The first scenes are taken, not chosen: the picture shows what is usual.

    Args:
        path: The PNG to write.
        trials: Of the same data set of scenes, such as ``DigitScenesSegmentation``; their trainings are done.
        count: How many scenes.
    """
    init_default_scope('mmseg')
    dataset = SPLITS.build(trials[0].config.test_dataloader.dataset)
    count = min(count, len(dataset))
    scenes = [dataset.get_data_info(index) for index in range(count)]
    palette = np.asarray(dataset.metainfo['palette'], np.uint8)
    images = [np.asarray(Image.open(scene['img_path'])) for scene in scenes]
    rows = [('Scene', images),
            ('Ground truth', [palette[np.asarray(Image.open(scene['seg_map_path']))] for scene in scenes])]
    for trial in trials:
        model = load_model(deepcopy(trial.config), trial.train.folder / trial.train.product)
        samples = inference_model(model, [scene['img_path'] for scene in scenes])
        rows.append((trial.row.title, [palette[sample.pred_sem_seg.data[0].numpy()] for sample in samples]))
    figure = Figure(figsize=(1.25 * count + 1.6, 1.35 * len(rows) + 0.9))
    for own, (title, pictures) in zip(figure.subplots(len(rows), count, squeeze=False), rows):
        own[0].set_ylabel(title, rotation=0, ha='right', va='center', fontsize=11, labelpad=8)
        for axis, picture in zip(own, pictures):
            axis.imshow(picture, interpolation='nearest')
            axis.set(xticks=[], yticks=[])
    names = dataset.metainfo['classes']
    handles = [Patch(facecolor=colour / 255, edgecolor='0.5', label=name) for name, colour in zip(names, palette)]
    figure.legend(handles=handles, ncol=6, loc='lower center', frameon=False, fontsize=10)
    height, width = images[0].shape[:2]
    title = f'{dataset.SPEC.NAME}, the first {count} scenes of the test split, {width} x {height} px'
    figure.suptitle(title, fontsize=12)
    figure.tight_layout(rect=(0, 0.6 / figure.get_figheight(), 1, 1))
    with atomic_write(path, 'wb') as file:
        figure.savefig(file, dpi=110)
