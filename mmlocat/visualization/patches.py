"""A clicked patch: its Gaussians on the picture, its attention as tiles. By Pillow, since a click waits for it."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw

from .blocks import AttentionRow, BlockMaps, Ellipses, Patch
from .overlay import font
from .style import DIFFERENCE

# Okabe and Ito's colours, told apart with any kind of colour vision.
HEAD_COLOURS = ('#E69F00', '#56B4E9', '#009E73', '#F0E442', '#0072B2', '#D55E00', '#CC79A7', '#FFFFFF')
_WEIGHT = 'cividis'
_TILE, _GAP, _LABEL, _TEXT, _BAR = 190, 18, 190, 15, 10  # px


def head_colour(head: int) -> str:
    """Returns the colour of a head; they repeat after eight."""
    return HEAD_COLOURS[head % len(HEAD_COLOURS)]


def enlargement(width: int, height: int, side: int = 480) -> int:
    """Returns by how much a picture is enlarged so that its patches can be clicked: a whole number."""
    return max(1, side // max(width, height))


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Enlarges a small picture (H, W, 3) by a whole number, for the list of samples."""
    scale = enlargement(image.shape[1], image.shape[0], 144)
    return image.repeat(scale, 0).repeat(scale, 1)


def draw_picture(image: np.ndarray, patch_size: Tuple[int, int], patch: Patch,
                 ellipses: Optional[Ellipses] = None) -> Image.Image:
    """Draws the picture that is clicked, with the chosen patch and its Gaussian of each head.

    Args:
        image: RGB, shape (H, W, 3), as the model gets it.
        patch_size: Height and width of a patch in px of the image.
        patch: Row and column of the chosen patch.
        ellipses: Of this patch; None for a plain ViT.

    Returns:
        The picture, enlarged by ``enlargement``.
    """
    scale = enlargement(image.shape[1], image.shape[0])
    size = (image.shape[1] * scale, image.shape[0] * scale)
    picture = Image.fromarray(image).resize(size, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(picture)
    height, width = (side * scale for side in patch_size)
    left, top = patch[1] * width, patch[0] * height
    for inset, colour in ((0, 'black'), (2, 'white')):
        draw.rectangle((left + inset, top + inset, left + width - inset, top + height - inset), outline=colour, width=2)
    if ellipses is not None:
        for head, axes in enumerate(ellipses.half_axes[:, 0]):
            x, y = ellipses.centres[0] * scale
            rx, ry = axes * scale
            for grow, line, colour in ((1, 5, 'black'), (0, 3, head_colour(head))):
                draw.ellipse((x - rx - grow, y - ry - grow, x + rx + grow, y + ry + grow), outline=colour, width=line)
    return picture


def _map(values: np.ndarray, lowest: float, highest: float, name: str) -> np.ndarray:
    from matplotlib import colormaps
    span = highest - lowest or 1.0
    return (colormaps[name]((values - lowest) / span)[..., :3] * 255).round().astype(np.uint8)


def _tile(sheet: Image.Image, at: Tuple[int, int], values: np.ndarray, limits: Tuple[float, float], name: str,
          patch: Patch) -> None:
    """Puts a map (H, W) onto the sheet, with the query patch framed and the scale of colours below."""
    draw = ImageDraw.Draw(sheet)
    rows, columns = values.shape
    cell = _TILE / max(rows, columns)
    size = (max(1, round(columns * cell)), max(1, round(rows * cell)))
    x, y = at
    sheet.paste(Image.fromarray(_map(values, *limits, name)).resize(size, Image.Resampling.NEAREST), at)
    frame = (x + patch[1] * cell, y + patch[0] * cell, x + (patch[1] + 1) * cell, y + (patch[0] + 1) * cell)
    draw.rectangle(frame, outline='white', width=2)
    draw.rectangle([side + change for side, change in zip(frame, (-1, -1, 1, 1))], outline='black')
    bar = _map(np.linspace(*limits, _TILE)[None].repeat(_BAR, 0), *limits, name)
    sheet.paste(Image.fromarray(bar), (x, y + _TILE + 6))
    draw.text((x, y + _TILE + 8 + _BAR), f'{limits[0]:.2g}', fill='black', font=font(_TEXT - 2))
    high = f'{limits[1]:.2g}'
    draw.text((x + _TILE - font(_TEXT - 2).getlength(high), y + _TILE + 8 + _BAR), high, fill='black',
              font=font(_TEXT - 2))


def describe_head(block: BlockMaps, head: int, patch: Patch) -> List[str]:
    """Returns what a head predicts for a patch, a line each."""
    if not block.has_gaug:
        return ['plain attention']
    vertical, horizontal = block.sigma[head][patch]
    return ['σ in patches', f'  vertical {vertical:.2f}', f'  horizontal {horizontal:.2f}',
            f'α {block.alpha[head][patch]:.2f} (logit)']


def draw_attention(block: BlockMaps, row: AttentionRow, patch: Patch) -> Image.Image:
    """Draws what a patch attends to, a row for each head: without GAug, with it, and what it changes.

    Args:
        block: The block.
        row: Its attention for ``patch``.
        patch: Row and column of the query patch.

    Returns:
        The sheet. Both attention maps of a head share their scale of colours.
    """
    titles = ['Without GAug', 'With GAug', 'Difference'] if block.has_gaug else ['Attention']
    line = _TILE + _BAR + 2 * _TEXT + _GAP
    top = 2 * _TEXT + 30
    width = _LABEL + len(titles) * (_TILE + _GAP)
    sheet = Image.new('RGB', (width, top + block.num_heads * line), 'white')
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 6), f'Block {block.index + 1}, patch in row {patch[0] + 1}, column {patch[1] + 1}: '
              'weights of attention', fill='black', font=font(_TEXT))
    for column, title in enumerate(titles):
        draw.text((_LABEL + column * (_TILE + _GAP), top - _TEXT - 8), title, fill='black', font=font(_TEXT))
    for head in range(block.num_heads):
        y = top + head * line
        draw.rectangle((_GAP, y + 2, _GAP + 14, y + 16), fill=head_colour(head), outline='#555555')
        draw.text((_GAP + 22, y), f'Head {head + 1}', fill='black', font=font(_TEXT))
        for number, text in enumerate(describe_head(block, head, patch)):
            draw.text((_GAP, y + (number + 1) * (_TEXT + 7)), text, fill='black', font=font(_TEXT))
        maps: Sequence[np.ndarray] = [row.without_gaug[head]]
        if block.has_gaug:
            maps = [*maps, row.with_gaug[head], row.difference[head]]
        highest = max(float(values.max()) for values in maps[:2])
        change = float(np.abs(maps[2]).max()) if block.has_gaug else 0.0
        for column, values in enumerate(maps):
            limits, name = ((0.0, highest), _WEIGHT) if column < 2 else ((-change, change), DIFFERENCE)
            _tile(sheet, (_LABEL + column * (_TILE + _GAP), y), values, limits, name, patch)
    return sheet
