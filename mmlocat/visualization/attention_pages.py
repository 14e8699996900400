"""Draws pages of attention maps: one for each block, and a summary across blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, NamedTuple, Sequence, Tuple

import numpy as np

from mmlocat.utils import atomic_write

from .blocks import BlockMaps, Maps, Patch
from .style import ATTENTION, DIFFERENCE, FORMATS, LINES, SCALE, SIGMA, colour_scale, new_page, pyplot, save

_PANEL, _COLUMN, _LABEL = 1.5, 2.0, 1.3  # inches: a panel's longer side, from panel to panel at least, left of a row
_HEAD, _TITLES, _GAP = 0.75, 0.6, 0.15  # inches: above a page, above a group of panels, between rows of panels
_MOST_ELLIPSES = 3  # along each side of the map of all Gaussians
_QUERY = '#d55e00'


@dataclass(frozen=True)
class Subject:
    """A model's attention on one image, and the query patches to draw.

    Args:
        image: RGB, as it went into the model, shape (height, width, 3).
        maps: What the model computed.
        patches: Query patches, row and column.
        title: Names the model and the picture, for the head of a page.
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
    def panel(self) -> Tuple[float, float]:
        """Width and height in inches that a panel needs, its colour bar included."""
        width, height = self.extent
        return max(_COLUMN, _PANEL * width / max(width, height) + 0.6), _PANEL * height / max(width, height) + _GAP


class _Group(NamedTuple):
    """A group of panels of one kind, one row for each head.

    Args:
        title: Written above the group.
        columns: Titles of the columns.
        draw: Draws the row of a head, given its panels and its number.
    """

    title: str
    columns: Sequence[str]
    draw: Callable[[Sequence, int], None]


def _show_image(axes, subject: Subject) -> None:
    """Shows the image in middle greys, so that light and dark lines stand out."""
    grey = subject.image.mean(axis=2)
    height, width = grey.shape
    axes.imshow(70 + 0.4 * grey, cmap='gray', vmin=0, vmax=255, extent=(0, width, height, 0))
    _frame(axes, subject)


def _frame(axes, subject: Subject) -> None:
    width, height = subject.extent
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))


def _show_map(axes, subject: Subject, values: np.ndarray, cmap: str, low: float, high: float) -> None:
    """Shows one value a patch, with a colour bar at the right."""
    width, height = subject.extent
    shown = axes.imshow(values, cmap=cmap, norm=colour_scale(low, high), extent=(0, width, height, 0),
                        interpolation='nearest')
    _frame(axes, subject)
    _add_bar(axes, shown)


def _add_bar(axes, mappable) -> None:
    bar = axes.figure.colorbar(mappable, cax=axes.inset_axes((1.04, 0, 0.06, 1)))
    low, high = mappable.get_clim()
    bar.set_ticks([low, (low + high) / 2, high])
    bar.set_ticklabels([f'{value:.2g}' for value in (low, (low + high) / 2, high)])
    bar.ax.tick_params(labelsize=6.5, length=2, pad=1)
    bar.outline.set_linewidth(0.4)


def _show_gaussians(axes, subject: Subject, block: BlockMaps, head: int, patches: Sequence[Patch], mark: str) -> None:
    """Draws Gaussians at one sigma over the picture, coloured by alpha on the scale of the whole head."""
    from matplotlib import patheffects
    from matplotlib.cm import ScalarMappable
    from matplotlib.patches import Ellipse
    _show_image(axes, subject)
    colours = ScalarMappable(colour_scale(block.alpha[head].min(), block.alpha[head].max()), SCALE)
    halo = [patheffects.Stroke(linewidth=2.6, foreground='white', alpha=0.45), patheffects.Normal()]
    for patch in patches:
        x, y, across, down = block.ellipse(head, patch)
        axes.add_patch(Ellipse((x, y), 2 * across, 2 * down, fill=False, linewidth=1.8, path_effects=halo,
                               edgecolor=colours.to_rgba(block.alpha[head][patch])))
        axes.plot(x, y, mark, color='white', markersize=3, markeredgewidth=0.8)
    _add_bar(axes, colours)


def _everywhere(subject: Subject, block: BlockMaps) -> _Group:
    """Lays out the Gaussians of the whole image: a few of them as ellipses, sigma and alpha of all as maps."""
    rows, columns = (np.unique(np.linspace(0, length - 1, min(length, _MOST_ELLIPSES) + 2)[1:-1].round().astype(int))
                     for length in block.grid)
    spread = [(int(row), int(column)) for row in rows for column in columns]

    def draw(panels: Sequence, head: int) -> None:
        _show_gaussians(panels[0], subject, block, head, spread, mark='+')
        sigma, alpha = block.sigma[head], block.alpha[head]
        for axis in (0, 1):
            _show_map(panels[1 + axis], subject, sigma[..., axis], SIGMA, sigma.min(), sigma.max())
        _show_map(panels[3], subject, alpha, SCALE, alpha.min(), alpha.max())

    columns = ('1σ, colour: α (logit)', 'σ vertical (patches)', 'σ horizontal (patches)', 'α (logit)')
    return _Group('Gaussians over the whole image', columns, draw)


def _query(subject: Subject, block: BlockMaps, patch: Patch) -> _Group:
    """Lays out what one query patch attends to."""
    from matplotlib.patches import Rectangle
    row = block.attention(patch)

    def draw(panels: Sequence, head: int) -> None:
        maps = [values[head] for values in (row.without_gaug, row.with_gaug) if values is not None]
        high = max(values.max() for values in maps)  # one scale for both, so that they can be compared
        for axes, values in zip(panels[1:], maps):
            _show_map(axes, subject, values, ATTENTION, 0, high)
        if block.has_gaug:
            _show_gaussians(panels[0], subject, block, head, [patch], mark='')
            most = np.abs(row.difference[head]).max()
            _show_map(panels[3], subject, row.difference[head], DIFFERENCE, -most, most)
        else:
            _show_image(panels[0], subject)
        height, width = subject.maps.patch_size
        for axes in panels:
            for colour, line in (('white', 2.4), (_QUERY, 1.2)):
                axes.add_patch(Rectangle((patch[1] * width, patch[0] * height), width, height, fill=False,
                                         edgecolor=colour, linewidth=line))

    columns = (('its Gaussian, 1σ', 'attention weight without GAug', 'attention weight with GAug', 'with - without')
               if block.has_gaug else ('query patch', 'attention weight'))
    return _Group(f'query: row {patch[0] + 1}, column {patch[1] + 1} of {block.grid[0]} x {block.grid[1]} patches',
                  columns, draw)


def draw_block(subject: Subject, block: BlockMaps):
    """Draws the page of one block, a row for each head: Gaussians of the whole image, then each query patch.

    For a block with plain attention the panels that need GAug are left out, and the page says so.

    Args:
        subject: The image, its maps and the query patches.
        block: One of ``subject.maps.blocks``.

    Returns:
        A matplotlib figure.
    """
    groups = [_everywhere(subject, block)] if block.has_gaug else []
    groups += [_query(subject, block, patch) for patch in subject.patches]
    columns = len(groups[0].columns)
    width = _LABEL + columns * subject.panel[0]
    height = _TITLES + block.num_heads * subject.panel[1]
    # Puts as many groups side by side as bring the page closest to landscape format.
    across = min(range(1, len(groups) + 1),
                 key=lambda n: abs(math.log(n * width / (math.ceil(len(groups) / n) * height) / 1.3)))
    down = math.ceil(len(groups) / across)
    kind = 'attention with GAug' if block.has_gaug else 'plain attention: no Gaussians, σ and α to show'
    figure = new_page(across * width, _HEAD + down * height,
                      f'Block {block.index + 1} of {len(subject.maps.blocks)}, {kind}\n{subject.title}')
    for group, part in zip(groups, figure.subfigures(down, across, squeeze=False).flat):
        part.suptitle(group.title, fontsize=10)
        panels = part.subplots(block.num_heads, columns, squeeze=False)
        for axes, title in zip(panels[0], group.columns):
            axes.set_title(title, fontsize=7.5, pad=4)
        for head, row in enumerate(panels):
            row[0].set_ylabel(_head_label(block, head), fontsize=8, rotation=0, ha='right', va='center')
            group.draw(row, head)
    return figure


def _head_label(block: BlockMaps, head: int) -> str:
    lines = [f'Head {head + 1}', 'mean distance,', 'patches:']
    if block.has_gaug:
        lines += [f'{block.mean_distance(False)[head]:.2f} without GAug', f'{block.mean_distance(True)[head]:.2f} with']
    else:
        lines += [f'{block.mean_distance()[head]:.2f}']
    return '\n'.join(lines)


def draw_summary(subject: Subject):
    """Draws the summary page: mean attention distance by block, and the class token's maps.

    Args:
        subject: The image and its maps.

    Returns:
        A matplotlib figure.
    """
    maps = subject.maps
    rows = [("[CLS] row of the last block's attention", maps.blocks[-1].class_attention(), 'no class token'),
            ('[CLS] row of PRR, after the last norm: the refined [CLS]', maps.refined_class,
             'none: PRR belongs to a classifier')]
    heads = max([len(values) for _, values, _ in rows if values is not None], default=0)
    widths = 5.0, max(heads * subject.panel[0], 4.5)
    figure = new_page(sum(widths), _HEAD + max(3.9, 2 * (_TITLES + 0.3 + subject.panel[1])),
                      f'All blocks, and the class token\n{subject.title}')
    left, right = figure.subfigures(1, 2, width_ratios=widths)
    _draw_distances(left.subplots(), maps)
    for part, (title, values, reason) in zip(right.subfigures(2, 1), rows):
        part.suptitle(title if values is not None else f'{title}\n(this model has {reason})', fontsize=10)
        if values is None:
            continue
        for head, (axes, row) in enumerate(zip(part.subplots(1, heads, squeeze=False).flat, values), 1):
            axes.set_title(f'head {head}', fontsize=8, pad=3)
            _show_map(axes, subject, row, ATTENTION, 0, row.max())
            axes.set_xlabel(f'{row.sum():.1%} to patches', fontsize=7, labelpad=6)
    return figure


def _draw_distances(axes, maps: Maps) -> None:
    numbers = [block.index + 1 for block in maps.blocks]
    series = [('with GAug, as computed' if maps.has_gaug else 'plain attention', None, 'o-', LINES[0])]
    if maps.has_gaug:
        series.append(('the same with S left out', False, 's--', LINES[1]))
    for name, with_gaug, style, colour in series:
        distances = np.stack([block.mean_distance(with_gaug) for block in maps.blocks])
        axes.plot(numbers, distances, style[0], color=colour, markersize=3, alpha=0.5)
        axes.plot(numbers, distances.mean(1), style, color=colour, markersize=6, label=f'{name} (small: heads)')
    axes.set(xlabel='block', ylabel='patches', xticks=numbers, title='Mean attention distance')
    axes.set_ylim(bottom=0)
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=8, frameon=False)


def draw_pages(subject: Subject) -> Iterator[Tuple[str, object]]:
    """Yields the name and the figure of each page, blocks first."""
    for block in subject.maps.blocks:
        yield f'block{block.index + 1:02d}', draw_block(subject, block)
    yield 'summary', draw_summary(subject)


def write_pages(subject: Subject, folder: Path, format: str = 'png') -> Iterator[Path]:
    """Writes the pages: PNGs, or one PDF.

    Args:
        subject: The image, its maps and the query patches.
        folder: Folder for the files.
        format: 'png' or 'pdf'.

    Yields:
        The file of each page once it is written; for a PDF the same file for each of its pages.

    Raises:
        ValueError: ``format`` is neither.
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
