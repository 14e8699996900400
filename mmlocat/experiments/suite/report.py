"""What a suite has measured: a table, and what it says of two rows."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Sequence

from mmlocat.experiments.leaderboard.board import Row, mean_and_spread
from mmlocat.experiments.leaderboard.names import DATASETS, HEADS, metric
from mmlocat.experiments.leaderboard.output import provenance, to_json
from mmlocat.experiments.leaderboard.runs import gather
from mmlocat.utils import atomic_write
from mmlocat.utils.tables import Table

from .plan import Trial
from .rows import Suite

# What is evaluated without training a head, and the column that shows it.
_EVALUATIONS = {'knn': 'k-NN %', 'dino-knn': 'k-NN %', 'hummingbird': 'retrieval mIoU %'}
_BOUNDARY = 'mBoundaryIoU'  # as mmlocat.evaluation.BoundaryIoU calls it, where a test has that


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
        Where there are several data sets, each line names its own.
        """
        data = dict.fromkeys(map(_data_set, self.rows.values()))
        measured = [head for head in _EVALUATIONS if any(row.entry.head == head for row in self.rows.values())]
        contours = any(_BOUNDARY in run.test['metrics'] for row in self.rows.values() for run in row.runs)
        several = len(data) > 1
        table = Table([*(['data set'] if several else []), 'model', 'head', 'top-1 %',
                       *(_EVALUATIONS[head] for head in measured), 'mIoU %',
                       *(['boundary IoU %'] if contours else []), 'parameters'],
                      f'{", ".join(data)}, test split', words=3 if several else 2)
        for name, row in self.rows.items():
            head, own = row.entry.head, self._of_one_classifier(name)
            trained = [other for other in own if other and other not in _EVALUATIONS]
            if head not in (trained or ([''] if '' in own else own)):
                continue
            planned, by_top1 = self.suite.row(name), metric(head)[0] == 'accuracy/top1'
            classifier = row if by_top1 else own.get('')
            untrained = 'untrained' if '--allow-random-backbone' in planned.train_args else ''
            near = [run.test['metrics'][_BOUNDARY] for run in row.runs if _BOUNDARY in run.test['metrics']]
            table.add(*([_data_set(row)] if several else []), row.title, HEADS[head],
                      mean_and_spread(classifier.values, 1) if classifier else untrained,
                      *(mean_and_spread(own[other].values, 1) if other in own else '' for other in measured),
                      mean_and_spread(row.values, 1) if head in trained and not by_top1 else '',
                      *([mean_and_spread(near, 1)] if contours else []),
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
        found = [self._difference(*(self.rows[name] for name in pair)) for pair in self.suite.pairs
                 if set(pair) <= set(self.rows)]
        if not any(found):
            return ''
        return (f'{" ".join(filter(None, found))} These are small models on small images; the size of a gap need not '
                'carry over.')

    def _difference(self, first: Row, second: Row) -> str:
        """Says how the seeds of the second row differ from those of the first; '' if they have none in common."""
        base = {run.seed: run.value for run in first.runs}
        differences = [run.value - base[run.seed] for run in second.runs if run.seed in base]
        if not differences:
            return ''
        head, better = second.entry.head, sum(difference > 0 for difference in differences)
        where = f'{_data_set(second)}, {HEADS[head]}' if len(self.suite.pairs) > 1 else HEADS[head].capitalize()
        return (f'{where}: {second.title} against {first.title} '
                f'{mean_and_spread(differences, 1)} {metric(head)[0]} points (paired by seed), '
                f'higher in {better} of {len(differences)} runs.')

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


def _data_set(row: Row) -> str:
    return DATASETS.get(row.entry.dataset, row.entry.dataset)
