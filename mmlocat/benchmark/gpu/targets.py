"""Lists the targets for an H100 or H200, and judges whether the rows of a report meet them."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..attention import PASSES
from .attention import EAGER, GRAPH

PASS, MISS, UNKNOWN = 'pass', 'miss', 'not measured'


class Target(NamedTuple):
    """One target: the largest figure of some rows must not exceed a limit."""

    text: str
    part: str  # the part whose rows count
    where: Dict[str, Any]  # keys and values that select these rows
    limit: float
    value: str = 'ratio'  # the name of the figure


_FORWARD, _BOTH = PASSES
_INFERENCE, _STEP = 'inference', 'training step'
_ATTENTION = dict(batch=8, dtype='bfloat16', backend='triton')
TARGETS = (
    *(Target(f'attention, {passes}, {launch}, grid {grid}, batch 8', 'attention',
             dict(_ATTENTION, grid=f'{grid} x {grid}', passes=passes, launch=launch), limit)
      for passes, launch, grid, limit in (
          (_FORWARD, EAGER, 32, 1.05), (_FORWARD, EAGER, 64, 1.05), (_FORWARD, GRAPH, 14, 1.0),
          (_BOTH, GRAPH, 32, 1.25), (_BOTH, GRAPH, 64, 1.3), (_BOTH, GRAPH, 14, 1.3))),
    *(Target(f'memory of attention, {passes}, batch 8, worst case', 'attention',
             dict(_ATTENTION, passes=passes, launch=EAGER), 0.99, 'memory_ratio') for passes in PASSES),
    *(Target(f'{arch.capitalize()} {image} px, batch {batch}, {mode}', 'backbones',
             dict(dtype='bfloat16', arch=arch, image=image, batch=batch, mode=mode), limit)
      for arch, image, batch, mode, limit in (
          ('base', 512, 8, _INFERENCE, 1.05), ('base', 512, 8, _STEP, 1.10), ('base', 224, 64, _INFERENCE, 1.03),
          ('base', 224, 64, _STEP, 1.10), ('tiny', 512, 32, _INFERENCE, 1.05), ('tiny', 512, 32, _STEP, 1.10))),
    *(Target(f'{title}: {text}, worst case', 'compiled', dict(dtype='bfloat16', compiled=what), 1.0, value)
      for what, title in (('blocks', 'blocks compiled'), ('whole', 'compiled as a whole'))
      for text, value in (('ratio to the compiled ViT, over the eager ratio', 'over_eager_ratio'),
                          ('time over its own eager time', 'to_own_eager'))),
)


def judge(report: Mapping[str, Any]) -> List[Tuple[Target, Optional[float], str]]:
    """Compares the targets with the rows of a report.

    Args:
        report: The content of the JSON.

    Returns:
        Each target, the figure that was measured, and the verdict. A target counts as not measured if one of its rows
        has no figure, as one that failed; 'worst case' is the worst of the cases for which there was time.
    """
    verdicts = []
    for target in TARGETS:
        rows = report['parts'].get(target.part, {}).get('rows', [])
        figures = [row.get(target.value) for row in rows
                   if all(row.get(key) == value for key, value in target.where.items())]
        worst = max(figures) if figures and None not in figures else None
        verdicts.append((target, worst, UNKNOWN if worst is None else PASS if worst <= target.limit else MISS))
    return verdicts
