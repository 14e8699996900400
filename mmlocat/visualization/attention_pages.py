"""Runs ``tools/analysis/attention_maps.py``: draws a page of attention maps for each block, and a summary."""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.ticker import LinearLocator

from mmlocat.models.building import load_model
from mmlocat.utils import check_folder, with_progress

from .arguments import ModelFiles
from .blocks import BlockMaps, Maps, Patch
from .maps import collect, largest_side, prepare_image
from .pictures import as_picture, load_image, shown_of, swap_colours
from .sources import shrink
from .style import ATTENTION, DIFFERENCE, LINES, SCALE, SIGMA, colour_scale, new_page, save


class Subject(NamedTuple):
    """A model's attention on one image, and the query patches to draw.

    Args:
        image: The picture of what went into the model, RGB, shape (height, width, 3), uint8.
        maps: What the model computed.
        patches: Query patches, row and column.
        title: Names the model and the picture, for the head of a page.
    """

    image: np.ndarray
    maps: Maps
    patches: Sequence[Patch]
    title: str


class _Map(NamedTuple):
    """Values of all patches, (H, W), with the ends of their scale of colours."""

    title: str
    values: np.ndarray
    colours: str
    low: float
    high: float


def _maps_of(block: BlockMaps, head: int, patch: Optional[Patch]) -> List[_Map]:
    """Returns what one head attends to from a query patch, or the Gaussians of the whole image."""
    if patch is None:
        (vertical, horizontal), alpha = np.moveaxis(block.sigma[head], -1, 0), block.alpha[head]
        return [_Map(title, values, colours, values.min(), values.max())
                for title, values, colours in (('σ vertical (patches)', vertical, SIGMA),
                                               ('σ horizontal (patches)', horizontal, SIGMA),
                                               ('α (logit)', alpha, SCALE))]
    row = block.attention(patch)
    if not block.has_gaug:
        return [_Map('attention weight', row.without_gaug[head], ATTENTION, 0, row.without_gaug[head].max())]
    high = max(row.without_gaug[head].max(), row.with_gaug[head].max())  # one scale for both, to compare them
    most = np.abs(row.difference[head]).max()
    return [_Map('attention weight without GAug', row.without_gaug[head], ATTENTION, 0, high),
            _Map('attention weight with GAug', row.with_gaug[head], ATTENTION, 0, high),
            _Map('with - without', row.difference[head], DIFFERENCE, -most, most)]


def _add_bar(axes, mappable: ScalarMappable) -> None:
    bar = axes.figure.colorbar(mappable, cax=axes.inset_axes((1.04, 0, 0.06, 1)), ticks=LinearLocator(3), format='%.2g')
    bar.ax.tick_params(labelsize=6.5, length=2, pad=1)


def _show_picture(axes, image: np.ndarray, block: BlockMaps, head: int, patches: Sequence[Patch]) -> None:
    """Shows the image in middle greys, and over it the Gaussians of patches at one sigma, coloured by alpha."""
    height, width = image.shape[:2]
    axes.imshow(70 + 0.4 * image.mean(axis=2), cmap='gray', vmin=0, vmax=255, extent=(0, width, height, 0))
    if block.has_gaug:
        alpha = block.alpha[head]
        colours = ScalarMappable(colour_scale(alpha.min(), alpha.max()), SCALE)
        for patch in patches:
            draw_gaussian(axes, block, head, patch, colours.to_rgba(alpha[patch]))
        _add_bar(axes, colours)


def draw_gaussian(axes, block: BlockMaps, head: int, patch: Patch, colour) -> None:
    """Draws the Gaussian of a patch in one head over the image, at one sigma."""
    x, y, across, down = block.ellipse(head, patch)
    for edge, line in (('white', 2.8), (colour, 1.8)):  # dark colours need an edge
        axes.add_patch(Ellipse((x, y), 2 * across, 2 * down, fill=False, linewidth=line, edgecolor=edge))


def _outline(axes, areas: np.ndarray, block: BlockMaps, colour: str) -> None:
    """Draws a line around every area of equal numbers in a map of patches, (H, W); around 0 there is none outside."""
    height, width = block.patch_size
    bordered = np.pad(areas, 1)
    across = np.argwhere(bordered[1:, 1:-1] != bordered[:-1, 1:-1])  # row and column of a patch below a line
    down = np.argwhere(bordered[1:-1, 1:] != bordered[1:-1, :-1])  # of a patch to the right of one
    lines = [[(column * width, row * height), ((column + right) * width, (row + under) * height)]
             for edges, right, under in ((across, 1, 0), (down, 0, 1)) for row, column in edges]
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=0.9))


def draw_block(subject: Subject, block: BlockMaps) -> Figure:
    """Draws the page of one block, a row for each head: Gaussians of the whole image, then each query patch.

    Where attention keeps to windows, lines show them: all of them on the page's first part, then the query's own.
    """
    (rows, columns), (height, width) = block.grid, block.patch_size
    spread = list(product(*(range(length // 6, length, max(1, length // 3)) for length in block.grid)))
    groups = [('Gaussians over the whole image', None, spread)] if block.has_gaug else []
    queries = dict.fromkeys(subject.maps.patch_of(block, patch) for patch in subject.patches)
    groups += [(f'query: row {patch[0] + 1}, column {patch[1] + 1} of {rows} x {columns} patches', patch, [patch])
               for patch in queries]
    across, panels = min(2, len(groups)), 4 if block.has_gaug else 2
    down = -(-len(groups) // across)
    where = '' if block.reach is None else ' in windows'
    kind = f'attention{where} with GAug' if block.has_gaug else f'plain attention{where}: no Gaussians, σ and α to show'
    figure = new_page(across * (2.2 * panels + 0.4), 0.75 + down * (0.6 + 1.7 * block.num_heads),
                      f'Block {block.index + 1} of {len(subject.maps.blocks)}, {kind}\n{subject.title}')
    for (title, query, patches), part in zip(groups, figure.subfigures(down, across, squeeze=False).flat):
        part.suptitle(title, fontsize=10)
        for head, (first, *others) in enumerate(part.subplots(block.num_heads, panels, squeeze=False)):
            first.set_ylabel(f'Head {head + 1}', fontsize=8)
            first.set_title('1σ, colour: α (logit)' if block.has_gaug else 'query patch', fontsize=7.5)
            _show_picture(first, subject.image, block, head, patches)
            for axes, shown in zip(others, _maps_of(block, head, query)):
                axes.set_title(shown.title, fontsize=7.5)
                _add_bar(axes, axes.imshow(shown.values, cmap=shown.colours, norm=colour_scale(shown.low, shown.high),
                                           extent=(0, columns * width, rows * height, 0)))
            for axes in (first, *others):
                axes.set(xticks=[], yticks=[], xlim=(0, columns * width), ylim=(rows * height, 0))
                if block.reach is not None:
                    seen = block.reach if query is None else (block.reach == block.reach[query]).astype(int)
                    _outline(axes, seen, block, LINES[4])
                if query is not None:
                    axes.add_patch(Rectangle((query[1] * width, query[0] * height), width, height, fill=False,
                                             edgecolor=LINES[1], linewidth=1.6))
    return figure


def _draw_summary(subject: Subject) -> Figure:
    """Draws the mean attention distance of every head and block, without S as well where there is GAug."""
    figure = new_page(7, 5, f'Mean attention distance\n{subject.title}')
    axes = figure.subplots()
    numbers = [block.index + 1 for block in subject.maps.blocks]
    series = [(False, 'plain attention')]
    if any(block.has_gaug for block in subject.maps.blocks):
        series = [(True, 'with GAug, as computed'), (False, 'the same with S left out')]
    for (with_gaug, name), colour in zip(series, LINES):
        distances = [block.mean_distance(with_gaug and block.has_gaug) for block in subject.maps.blocks]
        for number, heads in zip(numbers, distances):
            axes.plot([number] * len(heads), heads, '.', color=colour, alpha=0.5)
        axes.plot(numbers, [heads.mean() for heads in distances], 'o-', color=colour, label=f'{name} (small: heads)')
    coarser = len({block.grid for block in subject.maps.blocks}) > 1
    axes.set(xlabel='block', ylabel="the block's own patches" if coarser else 'patches', xticks=numbers)
    axes.set_ylim(bottom=0)
    axes.grid(True, alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _query_patches(maps: Maps, points: Sequence[Tuple[float, float]], picture: np.ndarray,
                   image: np.ndarray) -> List[Patch]:
    """Finds the patches at points of the picture, which was shrunk to ``image`` for the model."""
    (height, width), (rows, columns) = picture.shape[:2], np.divide(image.shape[:2], maps.patch_size)
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f'--at {x:g},{y:g} lies outside the image, which has {width} x {height} px: x from 0 '
                             f'to {width - 1}, y from 0 to {height - 1}')
    return list(dict.fromkeys((int(y / height * rows), int(x / width * columns))
                              for x, y in points or [(width / 2, height / 2)]))


def attention_job(args: argparse.Namespace, files: Callable[[], ModelFiles]) -> Callable[[], None]:
    """Loads and runs the model; errors in the input are raised here, before anything is drawn.

    Args:
        args: The arguments of the tool.
        files: Returns the model's files; called when the image has been found.

    Returns:
        A function that draws the pages and writes the files.

    Raises:
        FileNotFoundError: Image, config or checkpoint do not exist.
        ValueError: They cannot be read, or a query lies outside the image.
        RuntimeError: The checkpoint is of another model.
        TypeError: The model's backbone is of a kind whose attention cannot be read.
    """
    out = check_folder('--out', args.out)
    if not Path(args.image).is_file():
        raise FileNotFoundError(f'image {args.image} does not exist')
    chosen = files()
    model = load_model(chosen.config, chosen.checkpoint, args.device, trust_pickle=args.trust_pickle)
    picture = load_image(args.image, model)
    image = swap_colours(shrink(picture, args.max_side or largest_side(model)))
    maps = collect(model, prepare_image(model, image))
    patches = _query_patches(maps, args.at, picture, image)
    height, width, channels = image.shape
    subject = Subject(as_picture(image), maps, patches,
                      f'{chosen.title}   |   {Path(args.image).name}, {width} x {height} px{shown_of(channels)}')

    def write() -> None:
        for block in with_progress(maps.blocks, lambda block: f'block {block.index + 1}'):
            save(draw_block(subject, block), out / f'block{block.index + 1:02d}.png')
        save(_draw_summary(subject), out / 'summary.png')
        print(f'Wrote a page for each of {len(maps.blocks)} blocks, and summary.png, to {out}')

    return write
