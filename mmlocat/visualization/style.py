"""Sets the style of all pictures: colours safe for colour-vision deficiency, matplotlib figures and their saving."""

from __future__ import annotations

from pathlib import Path
from typing import List

import numpy as np

from mmlocat.utils import atomic_write

# Okabe and Ito's, without the yellow, which is faint on white.
LINES = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')
MARKERS = 'os^Dvx*'
# The same with the yellow and white, for lines over a picture: one a head.
HEADS = ('#e69f00', '#56b4e9', '#009e73', '#f0e442', '#0072b2', '#d55e00', '#cc79a7', '#ffffff')
ATTENTION, SCALE, SIGMA, DIFFERENCE = 'viridis', 'viridis', 'cividis', 'PuOr'
FORMATS = ('png', 'pdf')


def pyplot():
    """Returns matplotlib's pyplot, set to write files only (no display)."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    return plt


def line_colours(count: int) -> List[str]:
    """Returns ``count`` colours: those of ``LINES``, or evenly spaced ones where these are too few."""
    if count <= len(LINES):
        return list(LINES[:count])
    from matplotlib.colors import to_hex
    return [to_hex(colour) for colour in pyplot().get_cmap('viridis')(np.linspace(0, 0.95, count))]


def colour_scale(low: float, high: float):
    """Returns matplotlib's scale of colours from ``low`` to ``high``, whose ends differ even where these are equal."""
    from matplotlib.colors import Normalize
    from matplotlib.transforms import nonsingular
    return Normalize(*nonsingular(low, high, expander=1e-3, tiny=1e-9))


def new_page(width: float, height: float, heading: str):
    """Returns an empty figure that matplotlib lays out so that nothing touches.

    Args:
        width: In inches; 7 at the least, so that the heading fits.
        height: In inches.
        heading: Text at the top.
    """
    figure = pyplot().figure(figsize=(max(width, 7.0), height), layout='constrained')
    figure.suptitle(heading, fontsize=11)
    return figure


def draw_band(axes, x, mean, spread, colour: str, **options) -> None:
    """Draws a line, and around it a band of one standard deviation.

    Args:
        axes: Axes of matplotlib to draw into.
        x: Shape (n,).
        mean: Shape (n,).
        spread: Standard deviations, shape (n,); zeros draw no band.
        colour: Colour of line and band.
        **options: Options of the line.
    """
    mean, spread = np.asarray(mean), np.asarray(spread)
    axes.plot(x, mean, color=colour, **options)
    if spread.any():
        axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)


def share_legend(figure, handles: list, columns: int) -> None:
    """Puts one legend for all panels below them."""
    figure.legend(handles=handles, loc='outside lower center', ncol=columns, frameon=False)


def save(figure, path: Path, dpi: int = 110) -> None:
    """Writes a figure, PNG or PDF by the suffix, and closes it; a failed write leaves no file."""
    try:
        with atomic_write(path, 'wb') as file:
            figure.savefig(file, format=path.suffix.lstrip('.'), dpi=dpi)
    finally:
        pyplot().close(figure)
