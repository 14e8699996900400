"""Colours that people with colour-vision deficiency tell apart, and small helpers of all pictures."""

from __future__ import annotations

from pathlib import Path
from typing import List

from mmlocat.utils import atomic_write

# Okabe and Ito's, without the yellow, which is faint on white.
LINES = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')
MARKERS = 'os^Dvx*'
ATTENTION, SCALE, SIGMA, DIFFERENCE = 'viridis', 'viridis', 'cividis', 'PuOr'
FORMATS = ('png', 'pdf')


def pyplot():
    """Returns matplotlib's pyplot, set to write files alone."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    return plt


def line_colours(count: int) -> List[str]:
    """Returns so many colours: those of ``LINES``, or evenly spaced ones where they do not suffice."""
    if count <= len(LINES):
        return list(LINES[:count])
    from matplotlib.colors import to_hex
    colours = pyplot().get_cmap('viridis')
    return [to_hex(colours(0.95 * i / (count - 1))) for i in range(count)]


def save(figure, path: Path, dpi: int = 110) -> None:
    """Writes a figure, PNG or PDF by the suffix, and closes it; nothing is left of one that fails."""
    try:
        with atomic_write(path, 'wb') as file:
            figure.savefig(file, format=path.suffix.lstrip('.'), dpi=dpi)
    finally:
        pyplot().close(figure)


def picture_path(path) -> Path:
    """Returns the path of a picture that is to be written.

    Args:
        path: Text or path.

    Raises:
        ValueError: Its suffix is none of ``FORMATS``, or it is a folder.
    """
    path = Path(path)
    if path.suffix.lstrip('.') not in FORMATS or path.is_dir():
        raise ValueError(f'{path} must be a file that ends in {" or ".join(f".{name}" for name in FORMATS)}')
    return path
