"""Sets the style of all pictures: colours safe for colour-vision deficiency, matplotlib figures and their saving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import nonsingular

from mmlocat.utils import atomic_write

# Okabe and Ito's, without the yellow, which is faint on white.
LINES = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')
MARKERS = 'os^Dvx*'
ATTENTION, SCALE, SIGMA, DIFFERENCE = 'viridis', 'viridis', 'cividis', 'PuOr'


def colour_scale(low: float, high: float) -> Normalize:
    """Returns a scale of colours from ``low`` to ``high``, whose ends differ even where these are equal."""
    return Normalize(*nonsingular(low, high, expander=1e-3, tiny=1e-9))


def new_page(width: float, height: float, heading: str) -> Figure:
    """Returns an empty figure of that many inches, at least 7 wide; matplotlib lays it out so that nothing touches."""
    # Not by pyplot, which would open a display, and keep the figure until it is closed.
    figure = Figure(figsize=(max(width, 7.0), height), layout='constrained')
    figure.suptitle(heading, fontsize=11)
    return figure


def draw_band(axes, x, mean, spread, colour, **options) -> None:
    """Draws a line through ``mean``, and around it a band of one standard deviation, ``spread``; all of shape (n,)."""
    mean, spread = np.asarray(mean), np.asarray(spread)
    axes.plot(x, mean, color=colour, **options)
    axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
    axes.grid(True, alpha=0.3)


def save(figure: Figure, path: Path) -> None:
    """Writes a figure in the format that the suffix names; a failed write leaves no file."""
    with atomic_write(path, 'wb') as file:
        figure.savefig(file, format=path.suffix.lstrip('.'), dpi=120)
