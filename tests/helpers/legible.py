"""Whether the words of a picture can be read: none lies over another, none leaves the page."""

from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def assert_legible(figure):
    """Draws a matplotlib figure and looks at the place of every piece of text; returns the texts."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    hidden = _hidden(figure)
    shown = []
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible() and id(text) not in hidden:
            box = text.get_window_extent(renderer)
            if box.width > 0 and box.height > 0:
                shown.append((text.get_text(), box))
    assert len(shown) > 3
    width, height = canvas.get_width_height()
    for name, box in shown:
        assert -1 <= box.x0 and box.x1 <= width + 1 and -1 <= box.y0 and box.y1 <= height + 1, f'{name!r} is cut off'
    for (first, one), (second, other) in combinations(shown, 2):
        over = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(over) <= 1, f'{first!r} and {second!r} overlap by {over} px'
    return [name for name, _ in shown]


def _hidden(figure):
    """Returns the ids of texts that matplotlib keeps and does not draw: of hidden axes, of ticks outside an axis."""
    artists = [axes for axes in figure.findobj(Axes) if not axes.get_visible()]
    for axis in figure.findobj(Axis):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-6 * (high - low)
        artists += [tick for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
                    if not low - slack <= tick.get_loc() <= high + slack]
    return {id(text) for artist in artists for text in artist.findobj(Text)}
