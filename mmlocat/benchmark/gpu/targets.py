"""Lists the targets for an H100 or H200, and judges whether the rows of a report meet them."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from ..attention import PASSES
from ..backbone import MODES, OURS
from .attention import EAGER, GRAPH

Row = Mapping[str, Any]
PASS, MISS, UNKNOWN = 'pass', 'miss', 'not measured'


class Target(NamedTuple):
    """One target.

    Args:
        text: Its description.
        part: The part whose rows count.
        where: Keys and values that select these rows; of a list of values each must have a row.
        limit: The largest value that passes.
        value: The name of the figure; the largest of all rows counts.
        below: Whether a value equal to the limit misses it.
        over: The name of a figure of the same row by which the value is divided first.
    """

    text: str
    part: str
    where: Dict[str, Any]
    limit: float
    value: str = 'ratio'
    below: bool = False
    over: Optional[str] = None


class Verdict(NamedTuple):
    """A target and what was measured."""

    target: Target
    measured: Optional[float]
    verdict: str


_FORWARD, _BOTH = PASSES
_INFERENCE, _STEP = MODES
_ATTENTION = dict(batch=8, dtype='bfloat16', backend='triton')
_BACKBONE = dict(dtype='bfloat16', model=OURS)
TARGETS = (
    *(Target(f'attention, {passes}, {launch}, grid {grid}, batch 8', 'attention',
             dict(_ATTENTION, grid=str(grid), passes=passes, launch=launch), limit)
      for passes, launch, grid, limit in (
          (_FORWARD, EAGER, 32, 1.05), (_FORWARD, EAGER, 64, 1.05), (_FORWARD, GRAPH, 14, 1.0),
          (_BOTH, GRAPH, 32, 1.25), (_BOTH, GRAPH, 64, 1.3), (_BOTH, GRAPH, 14, 1.3))),
    *(Target(f'memory of attention, {passes}, grids 14, 32, 64, worst case', 'memory',
             dict(_ATTENTION, grid=['14', '32', '64'], passes=passes), 1.0, below=True) for passes in PASSES),
    *(Target(f'{arch.capitalize()} {image} px, batch {batch}, {mode}', 'backbones',
             dict(_BACKBONE, arch=arch, image=image, batch=batch, mode=mode), limit)
      for arch, image, batch, mode, limit in (
          ('base', 512, 8, _INFERENCE, 1.05), ('base', 512, 8, _STEP, 1.10), ('base', 224, 64, _INFERENCE, 1.03),
          ('base', 224, 64, _STEP, 1.10), ('tiny', 512, 32, _INFERENCE, 1.05), ('tiny', 512, 32, _STEP, 1.10))),
    *(Target(f'{what}: {text}, worst case', part, _BACKBONE, 1.0, value, over=over)
      for part, what in (('compiled', 'blocks compiled'), ('compiled-whole', 'compiled as a whole'))
      for text, value, over in (('ratio to the compiled ViT, over the eager ratio', 'ratio', 'eager_ratio'),
                                ('time over its own eager time', 'to_eager', None))),
)


def _is_of(row: Row, where: Mapping[str, Any]) -> bool:
    return all(row.get(key) in (value if isinstance(value, list) else [value]) for key, value in where.items())


def _failed(row: Row, where: Mapping[str, Any]) -> bool:
    """Tells whether a row reports a failed case that ``where`` selects; keys that the row lacks are ignored."""
    said = {key: value for key, value in where.items() if key in row}
    return str(row.get('problem', '')).startswith('failed') and _is_of(row, said)


def _complete(rows: List[Row], where: Mapping[str, Any]) -> bool:
    """Tells whether every value in the lists of ``where`` has a row."""
    return bool(rows) and all({row[key] for row in rows} >= set(value) for key, value in where.items()
                              if isinstance(value, list))


def judge(report: Mapping[str, Any]) -> List[Verdict]:
    """Compares the targets with the rows of a report.

    A target counts as not measured if one of its rows failed or is missing. 'Worst case' is the worst of the cases
    for which there was time.

    Args:
        report: The content of the JSON.
    """
    verdicts = []
    for target in TARGETS:
        found = report['parts'].get(target.part, {}).get('rows', [])
        rows = [row for row in found if _is_of(row, target.where)]
        figures = [row.get(target.value) for row in rows]
        if not _complete(rows, target.where) or None in figures or any(_failed(row, target.where) for row in found):
            verdicts.append(Verdict(target, None, UNKNOWN))
            continue
        if target.over:
            figures = [figure / row[target.over] for figure, row in zip(figures, rows)]
        worst = max(figures)
        met = worst < target.limit if target.below else worst <= target.limit
        verdicts.append(Verdict(target, worst, PASS if met else MISS))
    return verdicts
