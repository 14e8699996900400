"""Draws how sigma and alpha of the Gaussians change over a training, from the log of ``GaussianStatsHook``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Dict, Tuple

import numpy as np
from matplotlib import colormaps

from mmlocat.engine.gaussian_stats import PREFIX

from .style import draw_band, new_page, save

_TAG = re.compile(rf'{PREFIX}/block(\d+)/head(\d+)/(sigma|alpha)$')
_UNITS = {'sigma': 'σ (patches)', 'alpha': 'α (logit)'}

_Series = Dict[Tuple[str, int, int], Dict[int, Tuple[float, float]]]  # (name, block, head): mean and spread by step


def _read_log(work_dir: Path) -> _Series:
    """Reads what the hook wrote; for a step that was run twice, before and after a resume, the last record counts."""
    series: _Series = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        lines = path.read_text(encoding='utf-8').splitlines()
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
            except ValueError as error:
                if number == len(lines):  # cut off by a kill
                    continue
                raise ValueError(f'{path}, line {number}, is no JSON: {error}') from error
            for tag, mean in entry.items():
                match = _TAG.match(tag)
                if match:
                    key = (match.group(3), int(match.group(1)), int(match.group(2)))
                    series.setdefault(key, {})[entry['step']] = (mean, entry[f'{tag}_std'])
    if not series:
        raise ValueError(f'{work_dir} has no TIME/vis_data/scalars.json with Gaussians: train a LocAtViT with '
                         "custom_hooks=[dict(type='GaussianStatsHook')] in its config, for longer than its interval")
    return series


def draw_gaussians(work_dir: Path, path: Path) -> None:
    """Draws sigma and alpha over the steps: a row a block, a line a head, a band of one standard deviation.

    Args:
        work_dir: Of a training with the hook; a resumed one has a log for each start.
        path: PNG, PDF or another format of matplotlib.

    Raises:
        ValueError: A line of a log cannot be read, the hook has written nothing, or the format is unknown.
    """
    series = _read_log(work_dir)
    blocks = sorted({block for _, block, _ in series})
    figure = new_page(9, 2.3 * len(blocks) + 1, f'Gaussians while training: {work_dir.name}\n'
                      'mean over patches, band: ± one standard deviation')
    panels = figure.subplots(len(blocks), len(_UNITS), squeeze=False, sharex=True)
    heads = max(head for _, _, head in series)
    colours = colormaps['viridis'](np.linspace(0, 0.95, heads))
    for (name, block, head), records in sorted(series.items()):
        panel = panels[blocks.index(block), list(_UNITS).index(name)]
        steps, figures = zip(*sorted(records.items()))
        draw_band(panel, steps, *zip(*figures), colours[head - 1], label=f'head {head}', marker='.')
        panel.locator_params(axis='x', nbins=5)
        panel.set(title=f'block {block}', ylabel=_UNITS[name], xlabel='iteration')
    # Later stages of a hierarchical backbone have more heads; a head has one colour in all blocks.
    most = max((panel.get_legend_handles_labels() for panel in panels[:, 0]), key=lambda legend: len(legend[0]))
    figure.legend(*most, loc='outside lower center', ncol=6, frameon=False)
    save(figure, path)
