"""Panels of a page of attention maps, placed by hand so that none touches another. All sizes are in inches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, Tuple

import numpy as np

from .blocks import BlockMaps, Maps, Patch
from .style import SCALE

PANEL, BAR = 1.5, 0.62  # longer side of a panel; room for its colour bar
_PITCH = 1.95  # from panel to panel at least: the longest title of a column fits
_QUERY = '#d55e00'


@dataclass(frozen=True)
class Subject:
    """What is looked at.

    Args:
        image: RGB, as it went into the model, shape (height, width, 3).
        maps: What the model computed.
        patches: Query patches, row and column.
        title: Of the model and the picture, for the head of a page.
    """

    image: np.ndarray
    maps: Maps
    patches: Sequence[Patch]
    title: str

    @property
    def extent(self) -> Tuple[int, int]:
        """Width and height in px of what the patches cover: the image, padded to whole patches."""
        return self.maps.grid[1] * self.maps.patch_size[1], self.maps.grid[0] * self.maps.patch_size[0]

    @property
    def pitch(self) -> float:
        """From the left of a panel to the left of the next."""
        return max(_PITCH, self.panel[0] + BAR)

    @property
    def panel(self) -> Tuple[float, float]:
        """Width and height of a panel."""
        width, height = self.extent
        return PANEL * width / max(width, height), PANEL * height / max(width, height)

    def place(self, patch: Patch) -> str:
        """Describes a query patch."""
        row, column = patch
        return f'query: row {row + 1}, column {column + 1} of {self.maps.grid[0]} x {self.maps.grid[1]} patches'


def add_axes(figure, left: float, top: float, width: float, height: float):
    """Adds axes whose corner lies at (left, top) of the page."""
    page_width, page_height = figure.get_size_inches()
    return figure.add_axes((left / page_width, 1 - (top + height) / page_height, width / page_width,
                            height / page_height))


def add_text(figure, left: float, top: float, text: str, **options) -> None:
    """Writes text whose corner lies at (left, top) of the page."""
    page_width, page_height = figure.get_size_inches()
    figure.text(left / page_width, 1 - top / page_height, text, **options)


def show_image(axes, subject: Subject) -> None:
    """Shows the image in middle greys, so that light and dark lines stand out."""
    grey = subject.image.mean(axis=2)
    height, width = grey.shape
    axes.imshow(70 + 0.4 * grey, cmap='gray', vmin=0, vmax=255, extent=(0, width, height, 0))
    _frame(axes, subject)


def _frame(axes, subject: Subject) -> None:
    width, height = subject.extent
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))


def mark_patch(axes, subject: Subject, patch: Patch) -> None:
    """Outlines a query patch."""
    from matplotlib.patches import Rectangle
    height, width = subject.maps.patch_size
    where = (patch[1] * width, patch[0] * height)
    for colour, line in (('white', 2.4), (_QUERY, 1.2)):
        axes.add_patch(Rectangle(where, width, height, fill=False, edgecolor=colour, linewidth=line))


def show_map(axes, subject: Subject, values: np.ndarray, cmap: str, low: float, high: float) -> None:
    """Shows one value a patch, with a colour bar at the right."""
    width, height = subject.extent
    shown = axes.imshow(values, cmap=cmap, vmin=low, vmax=high, extent=(0, width, height, 0), interpolation='nearest',
                        aspect='auto')
    _frame(axes, subject)
    _bar(axes, shown)


def _bar(axes, mappable) -> None:
    bar = axes.figure.colorbar(mappable, cax=axes.inset_axes((1.04, 0, 0.06, 1)))
    low, high = mappable.get_clim()
    bar.set_ticks([low, (low + high) / 2, high])
    bar.set_ticklabels([f'{value:.2g}' for value in (low, (low + high) / 2, high)])
    bar.ax.tick_params(labelsize=6.5, length=2, pad=1)
    bar.outline.set_linewidth(0.4)


def value_range(values: np.ndarray) -> Tuple[float, float]:
    """Returns the ends of a colour scale, which differ even where all values are equal."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low, low + max(abs(low), 1e-6) * 1e-3)


def show_gaussians(axes, subject: Subject, block: BlockMaps, head: int, patches: Sequence[Patch], centre: bool) -> None:
    """Draws Gaussians at one sigma over the picture, coloured by alpha on the scale of the whole head."""
    from matplotlib import patheffects
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Ellipse
    show_image(axes, subject)
    colours = ScalarMappable(Normalize(*value_range(block.alpha[head])), SCALE)
    found = block.ellipses(patches)
    for (x, y), (across, down), alpha in zip(found.centres, found.half_axes[head], found.alpha[head]):
        ellipse = Ellipse((x, y), 2 * across, 2 * down, fill=False, edgecolor=colours.to_rgba(alpha), linewidth=1.8)
        ellipse.set_path_effects([patheffects.Stroke(linewidth=2.6, foreground='white', alpha=0.45),
                                  patheffects.Normal()])
        axes.add_patch(ellipse)
        if centre:
            axes.plot(x, y, '+', color='white', markersize=3, markeredgewidth=0.8)
    _bar(axes, colours)
