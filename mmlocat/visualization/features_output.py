"""The figure and the table of ``features.py``."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from mmlocat.utils import atomic_write
from mmlocat.utils.tables import Table

from .features import MEASURES, BlockFeatures
from .style import LINES, MARKERS, pyplot, save

Results = Dict[str, List[List[BlockFeatures]]]  # by title; models of one title are seeds of one kind

_PANELS = {
    'class_similarity': ('Patch tokens to [CLS]', 'cosine similarity'),
    'patch_similarity': ('Patch tokens to each other', 'cosine similarity'),
    'effective_rank': ('Effective rank of patch tokens', 'directions'),
    'attention_distance': ('Mean attention distance', 'patches'),
    'linear_by_class': ('Linear probe of patches', '% right, mean over classes'),
    'neighbours_by_class': ('20 nearest neighbours of patches', '% right, mean over classes'),
}
_COLUMNS = {
    'class_similarity': 'to [CLS]',
    'patch_similarity': 'to each other',
    'effective_rank': 'eff. rank',
    'attention_distance': 'distance',
    'linear': 'linear %',
    'linear_by_class': 'by class %',
    'neighbours': 'k-NN %',
    'neighbours_by_class': 'by class %',
}


def _spread(models: List[List[BlockFeatures]], block: int, name: str) -> Optional[Tuple[float, float]]:
    """Returns mean and standard deviation over the models of a title; None where it was not measured."""
    values = [getattr(rows[block], name) for rows in models]
    if any(value is None for value in values):
        return None
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def _measured(results: Results, name: str) -> bool:
    return any(_spread(models, 0, name) for models in results.values())


def print_results(results: Results, title: str, markdown: bool) -> None:
    """Prints a row for each title and block, with the spread where a title has several models.

    Args:
        results: What was measured.
        title: Of the table.
        markdown: Whether as Markdown.
    """
    names = [name for name in MEASURES if _measured(results, name)]
    table = Table(['model', 'block', *(_COLUMNS[name] for name in names)], title, words=2)
    for kind, models in results.items():
        for block in range(len(models[0])):
            cells = []
            for name in names:
                figure = _spread(models, block, name)
                digits = 1 if name.startswith(('linear', 'neighbours', 'effective')) else 2
                cells.append('' if figure is None else f'{figure[0]:.{digits}f}' +
                             (f' ± {figure[1]:.{digits}f}' if len(models) > 1 else ''))
            table.add(kind, models[0][block].block, *cells)
    table.print(markdown)


def write_csv(results: Results, path: Path) -> None:
    """Writes every figure of every model, not rounded; a blank was not measured."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['model', 'number', 'block', *MEASURES])
        for title, models in results.items():
            for number, rows in enumerate(models, 1):
                for row in rows:
                    writer.writerow([title, number, row.block, *(getattr(row, name) for name in MEASURES)])


def draw(results: Results, path: Path, heading: str, chance: Optional[float] = None) -> None:
    """Draws every measure against the block, a line for each title, with bands of one standard deviation.

    Args:
        results: What was measured.
        path: PNG or PDF.
        heading: What was measured on.
        chance: Percent right of a guess, drawn into the probes' panels.
    """
    names = [name for name in _PANELS if _measured(results, name)]
    columns = 3 if len(names) > 4 else 2
    rows = -(-len(names) // columns)
    plt = pyplot()
    figure, panels = plt.subplots(rows, columns, figsize=(3.7 * columns, 3.0 * rows + 0.9), squeeze=False,
                                  layout='constrained')
    handles: Sequence = []
    for panel, name in zip(panels.flat, names):
        title, unit = _PANELS[name]
        for number, (kind, models) in enumerate(results.items()):
            figures = [_spread(models, block, name) for block in range(len(models[0]))]
            if None in figures:
                continue
            blocks = [row.block for row in models[0]]
            means = [mean for mean, _ in figures]
            colour = LINES[number % len(LINES)]
            label = kind + (f', mean of {len(models)}' if len(models) > 1 else '')
            panel.plot(blocks, means, marker=MARKERS[number % len(MARKERS)], color=colour, label=label)
            if len(models) > 1:
                panel.fill_between(blocks, [m - s for m, s in figures], [m + s for m, s in figures], color=colour,
                                   alpha=0.2, linewidth=0)
        if chance is not None and name.endswith('by_class'):
            panel.axhline(chance, color='0.4', linestyle=':', label='chance')
        panel.set(title=title, xlabel='block', ylabel=unit, xticks=blocks)
        panel.grid(True, alpha=0.3)
        handles = max(handles, panel.get_legend_handles_labels()[0], key=len)
    for panel in panels.flat[len(names):]:
        panel.set_visible(False)
    figure.suptitle(heading, fontsize=11)
    figure.legend(handles=handles, loc='outside lower center', ncol=3, frameon=False)
    save(figure, path, dpi=130)
