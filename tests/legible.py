"""Whether the words of a picture can be read: none lies over another, none leaves the page."""

from itertools import combinations

from matplotlib.text import Text


def assert_legible(figure):
    """Draws a matplotlib figure and looks at the place of every piece of text; returns the texts."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    shown = []
    for text in figure.findobj(Text):
        axes = getattr(text, 'axes', None)
        if not text.get_text().strip() or not text.get_visible() or (axes is not None and not axes.get_visible()):
            continue
        if axes is not None and text in [label for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_major_ticks()
                                         for label in (tick.label1, tick.label2)] and not _is_drawn(axes, text):
            continue
        box = text.get_window_extent(renderer)
        if box.width > 0 and box.height > 0:
            shown.append((text.get_text(), box))
    assert len(shown) > 3
    width, height = figure.canvas.get_width_height()
    for name, box in shown:
        assert -1 <= box.x0 and box.x1 <= width + 1 and -1 <= box.y0 and box.y1 <= height + 1, f'{name!r} is cut off'
    for (first, one), (second, other) in combinations(shown, 2):
        over = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(over) <= 1, f'{first!r} and {second!r} overlap by {over} px'
    return [name for name, _ in shown]


def _is_drawn(axes, label):
    """Tells whether a tick's label lies within its axis: matplotlib keeps ticks outside, and does not draw them."""
    for axis, limits in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim()))):
        for tick in axis.get_major_ticks():
            if label in (tick.label1, tick.label2):
                slack = 1e-6 * (limits[1] - limits[0])
                return limits[0] - slack <= tick.get_loc() <= limits[1] + slack
    return True
