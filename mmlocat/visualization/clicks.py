"""Draws what a click on a patch shows: its Gaussians over the picture, and its attention as tiles."""

from __future__ import annotations

from typing import List

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from .blocks import AttentionRow, BlockMaps, Patch
from .picture_layout import LINE, below, beside, swatch, write
from .style import DIFFERENCE, HEADS, SIGMA, colour_scale

_TILE, _GAP, _LABEL, _TEXT, _BAR = 190, 18, 172, 15, 10  # px


def head_colour(head: int) -> str:
    """Returns the colour of a head; colours repeat after eight heads."""
    return HEADS[head % len(HEADS)]


def enlargement(width: int, height: int, side: int = 480) -> int:
    """Returns the whole number by which a picture is enlarged so that its patches can be clicked."""
    return max(1, side // max(width, height))


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Enlarges a small picture (H, W, 3) by a whole number, for the list of samples."""
    scale = enlargement(image.shape[1], image.shape[0], 144)
    return image.repeat(scale, 0).repeat(scale, 1)


def draw_picture(image: np.ndarray, block: BlockMaps, patch: Patch) -> Image.Image:
    """Draws the picture that is clicked, with the chosen patch and its Gaussian of each head.

    Args:
        image: RGB, shape (H, W, 3), as the model gets it.
        block: Whose Gaussians are drawn, if it has any.
        patch: Row and column of the chosen patch.

    Returns:
        The picture, enlarged by ``enlargement``.
    """
    scale = enlargement(image.shape[1], image.shape[0])
    picture = Image.fromarray(image.repeat(scale, 0).repeat(scale, 1))
    draw = ImageDraw.Draw(picture)
    height, width = (side * scale for side in block.patch_size)
    left, top = patch[1] * width, patch[0] * height
    for inset, colour in ((0, 'black'), (2, 'white')):
        draw.rectangle((left + inset, top + inset, left + width - inset, top + height - inset), outline=colour, width=2)
    for head in range(block.num_heads if block.has_gaug else 0):
        x, y, rx, ry = (scale * value for value in block.ellipse(head, patch))
        for grow, line, colour in ((1, 5, 'black'), (0, 3, head_colour(head))):
            draw.ellipse((x - rx - grow, y - ry - grow, x + rx + grow, y + ry + grow), outline=colour, width=line)
    return picture


def _tile(values: np.ndarray, low: float, high: float, name: str, patch: Patch) -> Image.Image:
    """Draws a map (H, W) with the query patch framed, and the scale of colours below."""
    from matplotlib import colormaps

    def coloured(numbers: np.ndarray) -> Image.Image:
        return Image.fromarray(colormaps[name](colour_scale(low, high)(numbers), bytes=True)[..., :3])

    rows, columns = values.shape
    cell = _TILE / max(rows, columns)
    picture = Image.new('RGB', (_TILE, _TILE + 6), 'white')
    picture.paste(coloured(values).resize((max(1, round(columns * cell)), max(1, round(rows * cell))),
                                          Image.Resampling.NEAREST))
    frame = (patch[1] * cell, patch[0] * cell, (patch[1] + 1) * cell, (patch[0] + 1) * cell)
    draw = ImageDraw.Draw(picture)
    draw.rectangle(frame, outline='white', width=2)
    draw.rectangle([side + change for side, change in zip(frame, (-1, -1, 1, 1))], outline='black')
    bar = coloured(np.linspace(low, high, _TILE)[None].repeat(_BAR, 0))
    ends = beside([write(f'{low:.2g}', _TILE // 2, _TEXT - 2), write(f'{high:.2g}', _TILE // 2, _TEXT - 2, right=True)])
    return below([picture, bar, ends])


def describe_head(block: BlockMaps, head: int, patch: Patch) -> List[str]:
    """Returns lines of text with what a head predicts for a patch."""
    if not block.has_gaug:
        return ['plain attention']
    vertical, horizontal = block.sigma[head][patch]
    return ['σ in patches', f'  vertical {vertical:.2f}', f'  horizontal {horizontal:.2f}',
            f'α {block.alpha[head][patch]:.2f} (logit)']


def draw_attention(block: BlockMaps, row: AttentionRow, patch: Patch) -> Image.Image:
    """Draws what a patch attends to, a row for each head: without GAug, with it, and the difference.

    Args:
        block: The block.
        row: Its attention for ``patch``.
        patch: Row and column of the query patch.

    Returns:
        The sheet. Both attention maps of a head share their scale of colours.
    """
    titles = ['Without GAug', 'With GAug', 'Difference'] if block.has_gaug else ['Attention']
    rows = [beside([write(title, width, _TEXT) for title, width in zip(['', *titles], (_LABEL, *[_TILE] * 3))], _GAP)]
    for head in range(block.num_heads):
        label = [beside([swatch(head_colour(head)), write(f'Head {head + 1}', _LABEL - LINE, _TEXT)])]
        label += [write(text, _LABEL, _TEXT) for text in describe_head(block, head, patch)]
        maps = [values[head] for values in (row.without_gaug, row.with_gaug) if values is not None]
        highest = max(values.max() for values in maps)
        tiles = [_tile(values, 0.0, highest, SIGMA, patch) for values in maps]
        if block.has_gaug:
            change = np.abs(row.difference[head]).max()
            tiles.append(_tile(row.difference[head], -change, change, DIFFERENCE, patch))
        rows.append(beside([below(label), *tiles], _GAP))
    heading = f'Block {block.index + 1}, patch in row {patch[0] + 1}, column {patch[1] + 1}: weights of attention'
    sheet = below([write(heading, rows[-1].width, _TEXT), *rows], _GAP // 2)
    return ImageOps.expand(sheet, _GAP // 2, 'white')
