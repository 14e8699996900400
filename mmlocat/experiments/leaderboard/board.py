"""The board: one row a model, head and dataset, published beside measured."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple, Union

from mmengine.config import Config

from mmlocat.analysis.flops import count
from mmlocat.models.building import build_model, input_shape
from mmlocat.utils import with_progress

from .names import DATASETS, HEADS, Leaf, Published, metric, order, published, published_for
from .runs import Run


@dataclass
class Row:
    """One line of the board.

    Args:
        entry: What it is about: a config, or an entry of the paper for a model that nobody measured.
        published: The paper's entry, or None.
        runs: What was measured, by seed.
        deviations: Of all these runs: rows that deviate stand apart from those that do not.
        title: In tables; model and size by default.
        parameters: Of the model; None if unknown.
        macs: Of one image at ``shape``; None if unknown.
        shape: (height, width) in px.
        images_per_second: None if not measured.
    """

    entry: Union[Leaf, Published]
    published: Optional[Published] = None
    runs: List[Run] = field(default_factory=list)
    deviations: Tuple[str, ...] = ()
    title: str = ''
    parameters: Optional[int] = None
    macs: Optional[int] = None
    shape: Optional[Tuple[int, int]] = None
    images_per_second: Optional[float] = None

    def __post_init__(self) -> None:
        self.title = self.title or f'{self.entry.model}, {self.entry.size.capitalize()}'

    @property
    def head(self) -> str:
        """As in ``Leaf``."""
        return self.entry.head

    @property
    def config(self) -> Optional[str]:
        """Name of the config; None for a model that nobody measured."""
        return self.entry.name if isinstance(self.entry, Leaf) else None

    @property
    def values(self) -> List[float]:
        """The measured numbers, by seed."""
        return [run.value for run in self.runs if run.value is not None]

    @property
    def mean(self) -> Optional[float]:
        """Of the measured numbers; None if there are none."""
        return statistics.mean(self.values) if self.values else None

    @property
    def spread(self) -> Optional[float]:
        """Sample standard deviation; None for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def difference(self) -> Optional[float]:
        """Measured mean less published; None unless both are there."""
        if self.mean is None or self.published is None or self.published.value is None:
            return None
        return self.mean - self.published.value

    @property
    def supported(self) -> bool:
        """Whether this package has the model."""
        return self.published is None or self.published.supported


def mean_and_spread(values: Sequence[float], digits: int = 2) -> str:
    """Returns a mean as text, with the sample standard deviation if there are several values."""
    if len(values) < 2:
        return ''.join(f'{value:.{digits}f}' for value in values)
    return f'{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}'


@dataclass(frozen=True)
class Section:
    """The rows of one head and dataset, which share a metric.

    Args:
        head: As in ``Leaf``.
        dataset: As in ``Leaf``.
        rows: In the paper's order.
    """

    head: str
    dataset: str
    rows: List[Row]

    @property
    def metric(self) -> str:
        """The metric's name with unit."""
        return metric(self.head)[1]

    @property
    def title(self) -> str:
        """Dataset and protocol."""
        return f'{DATASETS.get(self.dataset, self.dataset)}, {HEADS[self.head]}'


def build_board(runs: Sequence[Run], paper: bool = False) -> List[Section]:
    """Arranges runs in sections, with the paper's rows beside them.

    Args:
        runs: From ``gather``.
        paper: Whether sections of the paper come in that nobody measured. A section with a measured row always has
            all rows of the paper.

    Returns:
        Sections in the order of datasets and heads; a row without runs has not been measured.
    """
    grouped: Dict[tuple, List[Run]] = {}
    for run in runs:
        grouped.setdefault((run.leaf, tuple(run.deviations)), []).append(run)
    rows = []
    for (leaf, deviations), group in grouped.items():
        group.sort(key=lambda run: (run.seed is None, run.seed or 0, run.test['date']))
        rows.append(Row(leaf, published_for(leaf), group, deviations))
    measured = {(row.head, row.entry.dataset) for row in rows}
    # A row that deviates does not fill the paper's place.
    faithful = {row.published for row in rows if not row.deviations}
    rows += [Row(entry, entry) for entry in published()
             if entry not in faithful and (paper or (entry.head, entry.dataset) in measured)]
    rows.sort(key=lambda row: (*order(row.entry), len(row.deviations) > 0, row.config or '', row.deviations))
    sections: Dict[tuple, List[Row]] = {}
    for row in rows:
        sections.setdefault((row.head, row.entry.dataset), []).append(row)
    return [Section(head, dataset, own) for (head, dataset), own in sections.items()]


def add_costs(sections: Sequence[Section]) -> None:
    """Fills parameters and MACs of measured rows, from the configs that they recorded."""
    measured = [row for section in sections for row in section.rows if row.runs]
    for row in with_progress(measured, lambda row: f'cost of {row.runs[0].leaf.name}'):
        config = Config(row.runs[0].config)
        row.shape = input_shape(config)
        cost = count(config, row.shape)
        row.parameters, row.macs = cost.parameters, cost.macs


def add_speed(sections: Sequence[Section], seconds: float, batch: int, device: str) -> None:
    """Measures images a second of measured rows on this machine, in turns, weights random.

    Args:
        sections: Their rows are changed.
        seconds: Time for the turns of one section.
        batch: Images a call.
        device: Such as 'cpu' or 'cuda'.
    """
    import torch

    from mmlocat.benchmark.measure import in_turns
    for section in with_progress(sections, lambda section: f'speed of {len(section.rows)} models'):
        rows = {str(number): row for number, row in enumerate(section.rows) if row.runs}
        calls = {}
        for name, row in rows.items():
            config = Config(row.runs[0].config)
            model = build_model(config, device)
            calls[name] = _call(model, torch.randn(batch, 3, *input_shape(config), device=device))
        if calls:
            for name, time in in_turns(calls, next(iter(calls)), device, seconds).items():
                rows[name].images_per_second = batch / time.seconds


def _call(model, images):
    import torch

    def infer():
        with torch.no_grad():
            return model(images)

    return infer
