"""What a suite has measured: tables, what they say of two rows, and a picture, all from the records of its tests."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from mmlocat.experiments.leaderboard.board import Row, Section, add_costs, add_speed, mean_and_spread
from mmlocat.experiments.leaderboard.names import DATASETS, metric
from mmlocat.experiments.leaderboard.output import summary_line, to_json
from mmlocat.experiments.leaderboard.runs import Run, recorded_run
from mmlocat.utils import atomic_write
from mmlocat.utils.tables import Table

from .plan import Trial
from .rows import Suite

_HEADS = {'': 'classifier', 'linear': 'one layer, frozen', 'upernet': 'UperNet, fine-tuned'}
_SPEED_SECONDS, _SPEED_BATCH = 5., 32


class Report:
    """The figures of a suite's rows.

    Args:
        suite: The suite.
        trials: Its trials; those whose tests are not done are left out.
        work_dir: Where ``write`` puts the files.
    """

    def __init__(self, suite: Suite, trials: Sequence[Trial], work_dir: Path) -> None:
        self.suite, self.trials, self.work_dir = suite, trials, work_dir
        self.rows: Dict[str, Row] = {}
        for row in suite.rows:
            runs = [recorded_run(trial.test.folder, trial.train.folder)
                    for trial in trials if trial.row.name == row.name and trial.test.done]
            if runs:
                self.rows[row.name] = Row(runs[0].leaf, runs=runs, title=row.title)

    def measure(self) -> None:
        """Counts the rows' parameters; for a suite that compares, measures images a second on this idle machine too."""
        section = Section('', '', list(self._shown().values()))
        add_costs([section])
        if self.suite.compare:
            add_speed([section], _SPEED_SECONDS, _SPEED_BATCH, 'cpu')

    def _shown(self) -> Dict[str, Row]:
        """Returns the rows of the tables: a classifier that heads start from stands in theirs."""
        parents = {row.parent for row in self.suite.rows if row.name in self.rows}
        return {name: row for name, row in self.rows.items() if row.head or name not in parents}

    def _tops(self, name: str) -> Optional[Row]:
        """Returns the row of the classifier that a row starts from, or is; None where there is none."""
        if not self.rows[name].head:
            return self.rows[name]
        return self.rows.get(self.suite.row(name).parent or '')

    def main_table(self) -> Table:
        """Returns a line a row, means over seeds."""
        data = dict.fromkeys(DATASETS.get(row.entry.dataset, row.entry.dataset) for row in self.rows.values())
        table = Table(['model', 'head', 'top-1 %', 'mIoU %', 'parameters', 'images/s'],
                      f'{", ".join(data)}, test split', words=2)
        for name, row in self._shown().items():
            tops = self._tops(name)
            table.add(
                row.title, _HEADS[row.head], mean_and_spread(tops.values, 1) if tops else self._origin(name),
                mean_and_spread(row.values, 1) if row.head else '', f'{row.parameters:,}' if row.parameters else '',
                f'{row.images_per_second:.0f}' if row.images_per_second else '')
        return table

    def _origin(self, name: str) -> str:
        return 'untrained' if '--allow-random-backbone' in self.suite.row(name).train_args else ''

    def seed_table(self, classes: bool = True) -> Table:
        """Returns a line a trial, what the means are made of; with the IoU of each class if asked for."""
        names = self._classes() if classes else []
        table = Table(['model', 'head', 'seed', 'top-1 %', 'mIoU %', *names], 'By seed', words=2)
        for name, row in self._shown().items():
            tops = self._tops(name)
            by_seed = {run.seed: run.value for run in tops.runs} if tops else {}
            for run in row.runs:
                top = by_seed.get(run.seed)
                table.add(row.title, _HEADS[row.head], run.seed, self._origin(name) if top is None else f'{top:.1f}',
                          f'{run.value:.1f}' if row.head else '',
                          *(_iou([run], index) for index in range(len(names))))
        return table

    def class_table(self) -> Table:
        """Returns the IoU of each class, mean over seeds."""
        shown = [row for row in self._shown().values() if row.head]
        titles = [row.title + (' + UperNet' if row.head == 'upernet' else '') for row in shown]
        table = Table(['IoU %', *titles], 'By class (mean over seeds)')
        for index, name in enumerate(self._classes()):
            table.add(name, *(_iou(row.runs, index) for row in shown))
        return table

    def _classes(self) -> List[str]:
        return next((run.test['classes'] for row in self.rows.values() for run in row.runs if run.test['classes']), [])

    def verdict(self) -> str:
        """Says what the seeds at hand show of the two rows that the suite compares, and no more."""
        if not self.suite.compare or not set(self.suite.compare) <= set(self.rows):
            return ''
        first, second = (self.rows[name] for name in self.suite.compare)
        base = {run.seed: run.value for run in first.runs}
        differences = [run.value - base[run.seed] for run in second.runs if run.seed in base]
        if not differences:
            return ''
        better = sum(difference > 0 for difference in differences)
        return (f'{_HEADS[second.head].capitalize()}: {second.title} against {first.title} '
                f'{mean_and_spread(differences, 1)} {metric(second.head)[0]} points (paired by seed), '
                f'higher in {better} of {len(differences)} runs. '
                'These are small models on small images; the size of a gap need not carry over.')

    def write(self) -> None:
        """Writes summary.md, and summary.json with the full records; nothing where nothing is measured."""
        if not self.rows:
            return
        sections = [Section(row.head, row.entry.dataset, [row]) for row in self.rows.values()]
        with atomic_write(self.work_dir / 'summary.json') as file:
            file.write(to_json(sections))
        with atomic_write(self.work_dir / 'summary.md') as file:
            parts = [*(table.markdown() for table in self.tables(True)), self.verdict()]
            file.write('\n\n'.join(parts).rstrip() + '\n')

    def readme_text(self) -> str:
        """Returns the main table, the verdict, and on what both were measured."""
        table = self.main_table()
        table.title = ''
        sections = [Section('', '', list(self.rows.values()))]
        return '\n\n'.join(filter(None, [table.markdown(), self.verdict(), summary_line(sections)])) + '\n'

    def tables(self, everything: bool = False) -> List[Table]:
        """Returns the tables that are shown, or all: classes and seeds for a suite that compares two rows."""
        tables = [self.main_table()]
        if self.suite.compare:
            tables.append(self.class_table())
            if everything or len({trial.seed for trial in self.trials}) > 1:
                tables.append(self.seed_table(classes=everything))
        return tables


def _iou(runs: Sequence[Run], index: int) -> str:
    """Returns the mean IoU of a class as text; blank where no run has the class, or is a segmentor's."""
    values = [run.test['class_iou'][index] for run in runs if run.test['class_iou']]
    known = [value for value in values if value is not None]
    return f'{statistics.mean(known):.1f}' if known else ''
