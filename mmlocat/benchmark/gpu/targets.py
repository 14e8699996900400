"""The targets on an H100 or H200, and whether the rows of a report meet them."""

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
        text: What it is about.
        part: The part whose rows count.
        where: What these rows say; a list names values that are all asked for.
        value: The name of the figure; the largest of all rows counts.
        limit: The largest value that passes.
        below: Whether the limit itself is a miss.
        over: The name of a figure of the same row that the value is divided by first.
    """

    text: str
    part: str
    where: Dict[str, Any]
    value: str
    limit: float
    below: bool = False
    over: Optional[str] = None


class Verdict(NamedTuple):
    """A target and what was measured."""

    target: Target
    measured: Optional[float]
    verdict: str


def _attention(passes: str, launch: str, grid: int, limit: float) -> Target:
    return Target(f'attention, {passes}, {launch}, grid {grid}, batch 8', 'attention',
                  dict(grid=str(grid), batch=8, dtype='bfloat16', passes=passes, launch=launch, backend='triton'),
                  'ratio', limit)


def _backbone(arch: str, image: int, batch: int, mode: str, limit: float) -> Target:
    return Target(f'{arch.capitalize()} {image} px, batch {batch}, {mode}', 'backbones',
                  dict(arch=arch, image=image, batch=batch, dtype='bfloat16', mode=mode, model=OURS), 'ratio', limit)


def _compiled(part: str, what: str) -> List[Target]:
    where = dict(dtype='bfloat16', model=OURS)
    return [Target(f'{what}: ratio to the compiled ViT, over the eager ratio, worst case', part, where, 'ratio', 1.0,
                   over='eager_ratio'),
            Target(f'{what}: time over its own eager time, worst case', part, where, 'to_eager', 1.0)]


_FORWARD, _BOTH = PASSES
_INFERENCE, _STEP = MODES
TARGETS = (
    _attention(_FORWARD, EAGER, 32, 1.05),
    _attention(_FORWARD, EAGER, 64, 1.05),
    _attention(_FORWARD, GRAPH, 14, 1.0),
    _attention(_BOTH, GRAPH, 32, 1.25),
    _attention(_BOTH, GRAPH, 64, 1.3),
    _attention(_BOTH, GRAPH, 14, 1.3),
    *(Target(f'memory of attention, {passes}, grids 14, 32, 64, worst case', 'memory',
             dict(grid=['14', '32', '64'], batch=8, dtype='bfloat16', passes=passes, backend='triton'), 'ratio', 1.0,
             below=True) for passes in PASSES),
    _backbone('base', 512, 8, _INFERENCE, 1.05),
    _backbone('base', 512, 8, _STEP, 1.10),
    _backbone('base', 224, 64, _INFERENCE, 1.03),
    _backbone('base', 224, 64, _STEP, 1.10),
    _backbone('tiny', 512, 32, _INFERENCE, 1.05),
    _backbone('tiny', 512, 32, _STEP, 1.10),
    *_compiled('compiled', 'blocks compiled'),
    *_compiled('compiled-whole', 'compiled as a whole'),
)


def _is_of(row: Row, where: Mapping[str, Any]) -> bool:
    return all(row.get(key) in (value if isinstance(value, list) else [value]) for key, value in where.items())


def _failed(row: Row, where: Mapping[str, Any]) -> bool:
    """Tells whether a row is of a case that failed; of which side it is, it may not say."""
    said = {key: value for key, value in where.items() if key in row}
    return str(row.get('problem', '')).startswith('failed') and _is_of(row, said)


def _complete(rows: List[Row], where: Mapping[str, Any]) -> bool:
    """Tells whether every value that is asked for has a row."""
    return bool(rows) and all({row[key] for row in rows} >= set(value) for key, value in where.items()
                              if isinstance(value, list))


def judge(report: Mapping[str, Any]) -> List[Verdict]:
    """Compares the targets with the rows of a report.

    A target is not measured where a row of it failed or one that it names is missing. 'Worst case' is the worst of the
    cases for which there was time.

    Args:
        report: As the JSON holds it.
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
