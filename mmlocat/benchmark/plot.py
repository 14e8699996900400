"""Draws time and memory of attention against the number of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from mmlocat.utils import atomic_write

from .measure import Result


def draw(path: Path, results: Sequence[Result], heads: int) -> None:
    """Draws time and extra memory against the number of tokens, log-log, a panel for each pass.

    Args:
        path: The picture's file; the suffix sets its format.
        results: Rows of ``mmlocat.benchmark.attention``; those with other heads are left out.
        heads: The number of heads to show.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot

    own = [result for result in results if result.case.heads == heads]
    passes = list(dict.fromkeys(result.mode for result in own))
    figure, panels = pyplot.subplots(2, len(passes), squeeze=False, sharex=True, layout='constrained',
                                     figsize=(4.8 * len(passes), 7.2))
    for (time, memory), mode in zip(panels.T, passes):
        for name, marker in zip(dict.fromkeys(result.name for result in own), 'os^Dvx'):
            rows = [result for result in own if (result.mode, result.name) == (mode, name)]
            tokens = [result.case.tokens for result in rows]
            time.loglog(tokens, [result.time.seconds for result in rows], marker=marker, label=name)
            memory.loglog(tokens, [result.extra for result in rows], marker=marker)
        time.set(title=f'{mode}, {heads} heads', ylabel='seconds')
        memory.set(xlabel='tokens N', ylabel='MiB beyond inputs, outputs, gradients')
        time.legend(frameon=False, fontsize=8)
    with atomic_write(path, 'wb') as file:
        figure.savefig(file, dpi=150, format=path.suffix.lstrip('.') or 'png')
    pyplot.close(figure)
