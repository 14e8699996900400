"""The board: one row a model, head and dataset, published beside measured."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Dict, List, Optional, Sequence, Tuple

from mmengine.config import Config

from mmlocat.analysis.flops import count
from mmlocat.models.building import input_shape
from mmlocat.utils import with_progress
from mmlocat.utils.kept_rows import Call, measure_now

from .names import DATASETS, HEADS, REMARKS, Entry, order, published
from .runs import Run


class Row:
    """One line of the board.

    Args:
        entry: What it is about.
        runs: What was measured, by seed; none for a model that nobody measured.
        deviations: Of all these runs: rows that deviate stand apart from those that do not.
        title: In tables; model and size by default.

    Attributes:
        section: Dataset and protocol; the rows of a section share a metric.
        config: Name of the config, or None.
        published: The paper's number; None if there is none.
        remark: What a reader must know of the model's numbers; '' for most.
        values: The measured numbers, by seed.
        mean: Of the measured numbers, or None.
        spread: Their sample standard deviation; None for fewer than two.
        parameters: Of the model; None until ``add_costs``, as ``macs``: of one image at ``shape``, (height, width) in
            px.
    """

    def __init__(self, entry: Entry, runs: Sequence[Run] = (), deviations: Tuple[str, ...] = (), title: str = ''
                 ) -> None:
        self.entry, self.runs, self.deviations = entry, runs, deviations
        self.title = title or f'{entry.model}, {entry.size.capitalize()}'
        self.section = f'{DATASETS.get(entry.dataset, entry.dataset)}, {HEADS[entry.head]}'
        self.config = runs[0].leaf.name if runs else None
        self.published = published().get(entry)
        self.remark = REMARKS.get(entry.model, '')
        self.values: List[float] = [run.value for run in runs if run.value is not None]
        self.mean = statistics.mean(self.values) if self.values else None
        self.spread = statistics.stdev(self.values) if len(self.values) > 1 else None
        self.parameters: Optional[int] = None
        self.macs: Optional[int] = None
        self.shape: Optional[Tuple[int, int]] = None


def mean_and_spread(values: Sequence[float], digits: int = 2) -> str:
    """Returns a mean as text, with the sample standard deviation if there are several values."""
    if len(values) < 2:
        return ''.join(f'{value:.{digits}f}' for value in values)
    return f'{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}'


def build_board(runs: Sequence[Run], paper: bool = False) -> List[Row]:
    """Arranges runs in rows, with the paper's rows beside them.

    Args:
        runs: From ``gather``.
        paper: Whether sections of the paper come in that nobody measured. A section with a measured row always has
            all rows of the paper.

    Returns:
        Rows in the order of datasets, heads and the paper's models.
    """
    grouped: Dict[tuple, List[Run]] = {}
    for run in runs:
        grouped.setdefault((run.leaf, tuple(run.deviations)), []).append(run)
    rows = []
    for (leaf, deviations), group in grouped.items():
        group.sort(key=lambda run: (run.seed is None, run.seed or 0, run.test['date']))
        rows.append(Row(leaf.entry, group, deviations))
    measured = {row.section for row in rows}
    # A row that deviates does not fill the paper's place.
    faithful = {row.entry for row in rows if not row.deviations}
    rows += [row for row in map(Row, published()) if row.entry not in faithful and (paper or row.section in measured)]
    return sorted(rows, key=lambda row: (*order(row.entry), len(row.deviations) > 0, row.config or '', row.deviations))


def add_costs(rows: Sequence[Row], call: Call = measure_now) -> None:
    """Fills parameters and MACs of measured rows, from the configs that they recorded.

    Args:
        rows: Those without runs stay as they are.
        call: Counts each; ``KeptRows.call`` keeps what it gives.
    """
    for row in with_progress([row for row in rows if row.runs], lambda row: f'cost of {row.config}'):
        settings = row.runs[0].config
        if row.runs[0].test['tta']:  # the model inside the one that averages, which has no forward pass of its own
            settings = {**settings, 'model': settings['model']['module']}
        config = Config(settings)
        row.shape = input_shape(config)
        row.parameters, row.macs = call(dict(model=repr(config.model), shape=row.shape),
                                        partial(_count, config, row.shape))


def _count(config: Config, shape: Tuple[int, int]) -> Tuple[int, int]:
    cost = count(config, shape)
    return cost.parameters, cost.macs
