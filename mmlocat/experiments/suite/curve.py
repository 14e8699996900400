"""Draws what heads on frozen backbones reach, over how long each backbone was trained on: the curve of a retrofit."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Mapping, Tuple

from mmlocat.experiments.leaderboard.board import Row
from mmlocat.experiments.leaderboard.names import DATASETS, metric
from mmlocat.visualization.style import LINES, MARKERS, draw_band, new_page, save

from .rows import Suite

CAPTION = 'What a frozen backbone gives to a head, over how long it was trained on'


def curves(suite: Suite, rows: Mapping[str, Row]) -> Dict[str, Dict[str, List[Tuple[float, Row]]]]:
    """Returns the measured heads whose backbones were trained on for a share of their pretraining.

    Args:
        suite: The suite.
        rows: What is measured of it, by the names of its rows.

    Returns:
        By data set and model, in order: the share in percent, 0 for a backbone that was not trained on, and the row of
        the head. Empty if no row of the suite has a share.
    """
    found: Dict[str, Dict[str, List[Tuple[float, Row]]]] = {}
    for name, row in rows.items():
        start = suite.row(name).parent
        if start is None or not row.entry.head or row.mean is None or not any(other.share for other in suite.rows):
            continue  # a classifier is a step on the way to its head
        data = DATASETS.get(row.entry.dataset, row.entry.dataset)
        points = found.setdefault(data, {}).setdefault(row.entry.model, [])
        points.append((100 * (suite.row(start).share or 0), row))
        points.sort(key=lambda point: point[0])
    return found


def draw_curves(path: Path, suite: Suite, rows: Mapping[str, Row]) -> bool:
    """Draws ``curves``, a panel for each data set: means over seeds, in a band of one sample standard deviation.

    Args:
        path: The picture; its suffix says which kind.
        suite: The suite.
        rows: What is measured of it, by the names of its rows.

    Returns:
        Whether there was anything to draw.
    """
    found = curves(suite, rows)
    if not found:
        return False
    page = new_page(4.6 * len(found), 4.2, CAPTION)
    for axes, (data, models) in zip(page.subplots(1, len(found), squeeze=False)[0], found.items()):
        for (model, points), colour, marker in zip(models.items(), LINES, MARKERS):
            shares, own = zip(*points)
            draw_band(axes, shares, [row.mean for row in own], [row.spread or 0. for row in own], colour, marker=marker,
                      label=model)
        axes.set(title=data, xlabel='trained on for, % of its pretraining', ylabel=metric(own[0].entry.head)[1],
                 xticks=sorted({share for points in models.values() for share, _ in points}))
        axes.legend(fontsize=8)
    save(page, path)
    return True
