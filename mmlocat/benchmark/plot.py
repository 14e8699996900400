"""Draws time and memory of attention against the number of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import List, Sequence

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
    passes: List[str] = list(dict.fromkeys(result.mode for result in own))
    names = list(dict.fromkeys(result.name for result in own))
    with_memory = any(result.extra is not None for result in own)
    figure, panels = pyplot.subplots(1 + with_memory, len(passes), squeeze=False, sharex=True, layout='constrained',
                                     figsize=(4.8 * len(passes), 3.6 * (1 + with_memory)))
    styles = dict(zip(names, zip(['#000000', '#0072b2', '#e69f00', '#009e73', '#d55e00', '#cc79a7'], 'os^Dvx')))
    for column, name_of_pass in enumerate(passes):
        for name in names:
            rows = [r for r in own if r.mode == name_of_pass and r.name == name]
            tokens = [r.case.tokens for r in rows]
            color, marker = styles[name]
            options = dict(color=color, marker=marker, markersize=5, label=name,
                           linewidth=2.4 if name == 'auto' else 1.2)
            panels[0, column].loglog(tokens, [r.time.seconds for r in rows], **options)
            if with_memory:
                shown = [(n, max(r.extra, 0.1)) for n, r in zip(tokens, rows) if r.extra is not None]
                if shown:
                    panels[1, column].loglog(*zip(*shown), **options)
        panels[0, column].set_title(f'{name_of_pass}, {heads} heads')
        panels[-1, column].set_xlabel('tokens N')
    panels[0, 0].set_ylabel('seconds')
    if with_memory:
        panels[1, 0].set_ylabel('MiB beyond inputs, outputs, gradients')
    panels[0, 0].legend(frameon=False, fontsize=8)
    tokens = sorted({r.case.tokens for r in own})
    for panel in panels.flat:
        panel.grid(True, which='major', alpha=0.3)
        # Ticks at the measured sizes only: those at powers of ten and between them would overlap.
        panel.set_xticks(tokens, [str(n) for n in tokens])
        panel.set_xticks([], minor=True)
    with atomic_write(path, 'wb') as file:
        figure.savefig(file, dpi=150, format=path.suffix.lstrip('.') or 'png')
    pyplot.close(figure)
