"""Draws how sigma and alpha of the Gaussians change over a training, from the log of ``GaussianStatsHook``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Dict, List, Tuple, Union

from mmlocat.engine.gaussian_stats import PREFIX

from .style import draw_band, line_colours, new_page, save, share_legend

_TAG = re.compile(rf'{PREFIX}/block(\d+)/head(\d+)/(sigma|alpha)(_std)?$')
_COLUMNS = 4
_UNITS = {'sigma': 'σ (patches)', 'alpha': 'α (logit)'}

Series = Dict[Tuple[str, int, int], List[Tuple[int, float, float]]]  # (name, block, head): step, mean, spread


def _find_logs(log: Union[str, Path]) -> List[Path]:
    """Finds the files of scalars of a work dir, oldest first: a resumed training has several."""
    path = Path(log)
    if path.is_file():
        return [path]
    found = [*sorted(path.glob('*/vis_data/scalars.json')), *path.glob('vis_data/scalars.json'),
             *path.glob('scalars.json')]
    if not found:
        raise FileNotFoundError(f'{log} is no file of scalars and has none: a work dir has TIME/vis_data/scalars.json, '
                                "written by the visualiser's LocalVisBackend")
    return found


def read_log(log: Union[str, Path]) -> Series:
    """Reads what the hook wrote.

    Args:
        log: A work dir or a file of scalars; for a step that was run twice the last record counts.

    Raises:
        FileNotFoundError: There is no such log.
        ValueError: A line cannot be read, or the hook has written nothing.
    """
    records: Dict[Tuple[str, int, int], Dict[int, Tuple[float, float]]] = {}
    for path in _find_logs(log):
        lines = path.read_text(encoding='utf-8').splitlines()
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line) if line.strip() else {}
            except ValueError as error:
                if number == len(lines):  # cut off by a kill
                    continue
                raise ValueError(f'{path}, line {number}, is no JSON: {error}') from error
            for name, value in entry.items():
                match = _TAG.match(name)
                if match and not match.group(4):
                    key = (match.group(3), int(match.group(1)), int(match.group(2)))
                    records.setdefault(key, {})[entry['step']] = (value, entry[f'{name}_std'])
    if not records:
        raise ValueError(f'{log} has no scalars of Gaussians: train a LocAtViT with '
                         "custom_hooks=[dict(type='GaussianStatsHook')] in its config, for longer than its interval")
    return {key: [(step, *values) for step, values in sorted(found.items())] for key, found in records.items()}


def draw_timeline(series: Series, path: Path, heading: str) -> None:
    """Draws sigma and alpha over the steps: a panel a block, a line a head, a band of one standard deviation.

    Args:
        series: From ``read_log``.
        path: PNG or PDF.
        heading: Above the panels.
    """
    blocks = sorted({block for _, block, _ in series})
    heads = sorted({head for _, _, head in series})
    columns = min(_COLUMNS, len(blocks))
    rows = -(-len(blocks) // columns)
    figure = new_page(3.1 * columns + 0.4, 2.3 * 2 * rows + 1.0, heading)
    panels = figure.subplots(2 * rows, columns, squeeze=False, sharex=True).reshape(2, rows * columns)
    for half, (name, unit) in zip(panels, _UNITS.items()):
        for number, (panel, block) in enumerate(zip(half, blocks)):
            for head, colour in zip(heads, line_colours(len(heads))):
                found = series.get((name, block, head))
                if found:
                    steps, mean, spread = zip(*found)
                    draw_band(panel, steps, mean, spread, colour, label=f'head {head}', linewidth=1.5,
                              marker='o' if len(steps) < 20 else None, markersize=3)
            panel.set_title(f'block {block}', fontsize=10)
            panel.grid(True, alpha=0.3)
            panel.locator_params(axis='x', nbins=4)
            if number % columns == 0:
                panel.set_ylabel(unit)
            if number + columns >= len(blocks):
                panel.set_xlabel('iteration')
                panel.tick_params(labelbottom=True)
        for panel in half[len(blocks):]:
            panel.set_visible(False)
    share_legend(figure, panels[0, 0].get_legend_handles_labels()[0], min(6, len(heads)))
    save(figure, path, dpi=120)
