"""Pages of attention maps: one a block, and one of what belongs to no block. All sizes are in inches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

import numpy as np

from mmlocat.utils import atomic_write

from .blocks import BlockMaps, Patch
from .panels import (
    BAR,
    Subject,
    add_axes,
    add_text,
    mark_patch,
    show_gaussians,
    show_image,
    show_map,
    value_range,
)
from .style import ATTENTION, DIFFERENCE, FORMATS, LINES, SCALE, SIGMA, pyplot, save

_GAP = 0.14  # between rows
_LABEL, _FIRST_LABEL = 0.3, 1.35  # left of a group: the head; in the first group its mean distance too
_HEADER, _GROUP_TITLE, _COLUMN_TITLE, _MARGIN = 0.75, 0.26, 0.22, 0.15
_MOST_ELLIPSES = 3  # along each side of the map of all Gaussians


def _spread(grid: Tuple[int, int]) -> List[Patch]:
    """Returns patches evenly over the grid, few enough that their ellipses can be told apart."""
    axes = [np.unique(np.linspace(0, length - 1, min(length, _MOST_ELLIPSES) + 2)[1:-1].round().astype(int))
            for length in grid]
    return [(int(row), int(column)) for row in axes[0] for column in axes[1]]


class _Group:
    """Panels of one kind, a row a head."""

    def __init__(self, title: str, columns: Sequence[str]) -> None:
        self.title, self.columns = title, columns

    def draw(self, panels: Sequence, subject: Subject, block: BlockMaps, head: int) -> None:
        """Draws the row of a head."""
        raise NotImplementedError


class _Everywhere(_Group):
    """Gaussians of the whole image."""

    def __init__(self) -> None:
        super().__init__('Gaussians over the whole image',
                         ('1σ, colour: α (logit)', 'σ vertical (patches)', 'σ horizontal (patches)', 'α (logit)'))

    def draw(self, panels: Sequence, subject: Subject, block: BlockMaps, head: int) -> None:
        show_gaussians(panels[0], subject, block, head, _spread(block.grid), centre=True)
        low, high = value_range(block.sigma[head])
        for axis in (0, 1):
            show_map(panels[1 + axis], subject, block.sigma[head, ..., axis], SIGMA, low, high)
        show_map(panels[3], subject, block.alpha[head], SCALE, *value_range(block.alpha[head]))


class _Query(_Group):
    """What one query patch attends to."""

    def __init__(self, subject: Subject, block: BlockMaps, patch: Patch) -> None:
        columns = (('its Gaussian, 1σ', 'attention weight without GAug', 'attention weight with GAug', 'with - without')
                   if block.has_gaug else ('query patch', 'attention weight'))
        super().__init__(subject.place(patch), columns)
        self.patch, self.row = patch, block.attention(patch)

    def draw(self, panels: Sequence, subject: Subject, block: BlockMaps, head: int) -> None:
        if block.has_gaug:
            show_gaussians(panels[0], subject, block, head, [self.patch], centre=False)
        else:
            show_image(panels[0], subject)
        rows = [row[head] for row in (self.row.without_gaug, self.row.with_gaug) if row is not None]
        high = max(1e-12, *(row.max() for row in rows))  # one scale for both, so that they can be compared
        for axes, row in zip(panels[1:], rows):
            show_map(axes, subject, row, ATTENTION, 0, high)
        if self.row.difference is not None:
            most = max(float(np.abs(self.row.difference[head]).max()), 1e-12)
            show_map(panels[3], subject, self.row.difference[head], DIFFERENCE, -most, most)
        for axes in panels:
            mark_patch(axes, subject, self.patch)


def draw_block(subject: Subject, block: BlockMaps):
    """Draws the page of one block: a row a head; Gaussians of the whole image, then a group for each query patch.

    On a block with plain attention the panels that need GAug are left out, and the page says so.

    Args:
        subject: What is looked at.
        block: One of ``subject.maps.blocks``.

    Returns:
        A matplotlib figure.
    """
    groups: List[_Group] = [_Everywhere()] if block.has_gaug else []
    groups += [_Query(subject, block, patch) for patch in subject.patches]
    width, height = subject.panel
    columns = len(groups[0].columns)
    group_width = _LABEL + columns * subject.pitch
    band = _GROUP_TITLE + _COLUMN_TITLE + block.num_heads * (height + _GAP) + _GAP
    # As many groups side by side as make the page nearest to landscape.
    across = min(range(1, len(groups) + 1), key=lambda n: abs(
        math.log(n * group_width / (math.ceil(len(groups) / n) * band) / 1.3)))
    page_width = max(_FIRST_LABEL - _LABEL + across * group_width + 2 * _MARGIN, 7.5)
    figure = pyplot().figure(
        figsize=(page_width, _HEADER + math.ceil(len(groups) / across) * band + _MARGIN))
    kind = 'attention with GAug' if block.has_gaug else 'plain attention: no Gaussians, σ and α to show'
    add_text(figure, _MARGIN, 0.1, f'Block {block.index + 1} of {len(subject.maps.blocks)}, {kind}', va='top',
             fontsize=13)
    add_text(figure, _MARGIN, 0.4, subject.title, va='top', fontsize=9, color='0.3')
    for number, group in enumerate(groups):
        left = _MARGIN + _FIRST_LABEL - _LABEL + (number % across) * group_width
        top = _HEADER + (number // across) * band
        add_text(figure, left + _LABEL, top, group.title, va='top', fontsize=10)
        for column, title in enumerate(group.columns):
            add_text(figure, left + _LABEL + column * subject.pitch, top + _GROUP_TITLE, title, va='top', fontsize=7.5)
        for head in range(block.num_heads):
            row = top + _GROUP_TITLE + _COLUMN_TITLE + head * (height + _GAP)
            if number % across == 0:
                add_text(figure, _MARGIN, row + height / 2, _head_label(block, head), va='center', fontsize=8)
            panels = [add_axes(figure, left + _LABEL + column * subject.pitch, row, width, height)
                      for column in range(columns)]
            group.draw(panels, subject, block, head)
    return figure


def _head_label(block: BlockMaps, head: int) -> str:
    lines = [f'Head {head + 1}', 'mean distance,', 'patches:']
    if block.has_gaug:
        lines += [f'{block.mean_distance(False)[head]:.2f} without GAug', f'{block.mean_distance(True)[head]:.2f} with']
    else:
        lines += [f'{block.mean_distance()[head]:.2f}']
    return '\n'.join(lines)


def draw_summary(subject: Subject):
    """Draws what belongs to no single block: mean attention distance by block, and the class token's maps.

    Args:
        subject: What is looked at.

    Returns:
        A matplotlib figure.
    """
    maps, (width, height) = subject.maps, subject.panel
    rows: List[Tuple[str, Optional[np.ndarray]]] = [
        ("[CLS] row of the last block's attention", maps.blocks[-1].class_attention()),
        ('[CLS] row of PRR, after the last norm: the refined [CLS]', maps.refined_class)]
    shown = [(title, values) for title, values in rows if values is not None]
    heads = max([len(values) for _, values in shown], default=0)
    plot_width, plot_height = 4.2, 2.9
    left = _MARGIN + 0.7 + plot_width + 0.6
    band = _GROUP_TITLE + height + 0.65
    pitch = max(width + BAR, 1.5)  # the share below a panel fits, and a colour bar beside it
    page_width = max(left + heads * pitch + _MARGIN, left + 4.5)
    figure = pyplot().figure(figsize=(page_width, _HEADER + max(plot_height + 1.0, len(rows) * band)))
    add_text(figure, _MARGIN, 0.1, 'All blocks, and the class token', va='top', fontsize=13)
    add_text(figure, _MARGIN, 0.4, subject.title, va='top', fontsize=9, color='0.3')
    axes = add_axes(figure, _MARGIN + 0.6, _HEADER + 0.35, plot_width, plot_height)
    numbers = [block.index + 1 for block in maps.blocks]
    series = [('with GAug, as computed' if maps.has_gaug else 'plain attention', None, 'o-', LINES[0])]
    if maps.has_gaug:
        series.append(('the same with S left out', False, 's--', LINES[1]))
    for name, with_gaug, style, colour in series:
        distances = [block.mean_distance(with_gaug) for block in maps.blocks]
        for number, values in zip(numbers, distances):
            axes.plot([number] * len(values), values, style[0], color=colour, markersize=3, alpha=0.5)
        axes.plot(numbers, [values.mean() for values in distances], style, color=colour, markersize=6,
                  label=f'{name} (small: heads)')
    axes.set(xlabel='block', ylabel='patches', xticks=numbers, title='Mean attention distance')
    axes.set_ylim(bottom=0)
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    for index, (title, values) in enumerate(rows):
        top = _HEADER + index * band
        reason = '' if values is not None else ('\n(this model has none: PRR belongs to a classifier)' if index else
                                                '\n(this model has no class token)')
        add_text(figure, left, top, title + reason, va='top', fontsize=10)
        for head, row in enumerate([] if values is None else values):
            panel = add_axes(figure, left + head * pitch, top + _GROUP_TITLE + 0.2, width, height)
            panel.set_title(f'head {head + 1}', fontsize=8, pad=3)
            show_map(panel, subject, row, ATTENTION, 0, float(row.max()))
            panel.set_xlabel(f'{row.sum():.1%} to patches', fontsize=7, labelpad=6)
    return figure


def draw_pages(subject: Subject) -> Iterator[Tuple[str, object]]:
    """Yields the name and the figure of each page, blocks first."""
    for block in subject.maps.blocks:
        yield f'block{block.index + 1:02d}', draw_block(subject, block)
    yield 'summary', draw_summary(subject)


def write_pages(subject: Subject, folder: Path, format: str = 'png') -> Iterator[Path]:
    """Writes the pages: PNGs, or one PDF.

    Args:
        subject: What is looked at.
        folder: Where to.
        format: 'png' or 'pdf'.

    Yields:
        The file of each page, when it is done; that of the PDF for each of its pages.

    Raises:
        ValueError: ``format`` is another.
    """
    if format not in FORMATS:
        raise ValueError(f'unknown format {format!r} of pages; choose one of {", ".join(FORMATS)}')
    if format == 'png':
        for name, figure in draw_pages(subject):
            save(figure, folder / f'{name}.png')
            yield folder / f'{name}.png'
        return
    from matplotlib.backends.backend_pdf import PdfPages
    path = folder / 'attention_maps.pdf'
    with atomic_write(path, 'wb') as file, PdfPages(file) as pages:
        for _, figure in draw_pages(subject):
            pages.savefig(figure)
            pyplot().close(figure)
            yield path
