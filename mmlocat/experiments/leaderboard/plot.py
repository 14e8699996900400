"""Draws a board: published and measured, a panel for each section."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from mmlocat.utils import staged

from .board import Section

# Okabe and Ito's colours, which colour-blind readers tell apart; the markers differ too.
_PUBLISHED, _MEASURED, _DEVIATING, _RUN = '#d55e00', '#0072b2', '#cc79a7', '#999999'


def draw(path: Path, sections: Sequence[Section]) -> None:
    """Draws every row that has a number: published, single runs, their mean and sample spread.

    Args:
        path: Where the picture goes; the suffix says which kind.
        sections: From ``build_board``.

    Raises:
        ValueError: No row has a number.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot

    panels = [(section, [row for row in section.rows if row.values or (row.published and row.published.value)])
              for section in sections]
    panels = [(section, rows) for section, rows in panels if rows]
    if not panels:
        raise ValueError('nothing to draw: no row is published or measured')
    counts = [len(rows) for _, rows in panels]
    height = 0.9 * len(panels) + 0.32 * sum(counts) + 0.7
    figure, axes = pyplot.subplots(len(panels), 1, squeeze=False, figsize=(7.5, height),
                                   gridspec_kw=dict(height_ratios=[count + 1.5 for count in counts]))
    for axis, (section, rows) in zip(axes[:, 0], panels):
        for place, row in enumerate(rows):
            if row.published and row.published.value is not None:
                axis.plot(row.published.value, place, 'D', markersize=7, markerfacecolor='none',
                          markeredgecolor=_PUBLISHED, markeredgewidth=1.5, label='published')
            axis.plot(row.values, [place] * len(row.values), '|', markersize=9, color=_RUN, label='single run')
            if row.mean is not None:
                style = dict(fmt='X', color=_DEVIATING, label='measured, deviates from its recipe') if row.deviations \
                    else dict(fmt='o', color=_MEASURED, label='measured, mean ± sample spread')
                axis.errorbar(row.mean, place, xerr=row.spread, markersize=6, capsize=3, **style)
        axis.set_yticks(range(len(rows)), [row.title for row in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_title(section.title, fontsize=11)
        axis.set_xlabel(section.metric.replace(' %', ' (%)'))
        axis.grid(True, axis='x', alpha=0.3)
    handles = {}
    for axis in axes[:, 0]:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc='lower center', ncol=2, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.6 / height, 1, 1))
    with staged(path) as place:
        figure.savefig(place, dpi=130, format=path.suffix.lstrip('.') or 'png')
    pyplot.close(figure)
