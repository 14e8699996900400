"""Puts pictures and text together on one sheet with Pillow, which is fast enough for video frames and for clicks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Sequence

from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

TEXT, LINE, SWATCH = 16, 24, 16  # px: font size, line height, side of a square of colour in a legend


@lru_cache(maxsize=None)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Returns matplotlib's font, so that text looks the same everywhere."""
    return ImageFont.truetype(str(Path(get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')), size)


def text_width(text: str, size: int = TEXT) -> int:
    """Returns how many px a line of text is wide."""
    return round(_font(size).getlength(text))


def write(text: str, width: int, size: int = TEXT, right: bool = False) -> Image.Image:
    """Returns a picture of a line of text.

    Args:
        text: Shortened at its end where it does not fit.
        width: Width of the picture, in px.
        size: Font size in px.
        right: Whether the text ends at the right edge instead of beginning at the left one.
    """
    while text_width(text, size) > width and len(text) > 1:
        text = f'{text[:-2]}…'
    picture = Image.new('RGB', (width, size * LINE // TEXT), 'white')
    at, anchor = ((width, 0), 'ra') if right else ((0, 0), 'la')
    ImageDraw.Draw(picture).text(at, text, fill='black', font=_font(size), anchor=anchor)
    return picture


def swatch(colour: object) -> Image.Image:
    """Returns a framed square of a colour, as tall as a line of text, for a legend."""
    picture = Image.new('RGB', (SWATCH + 8, LINE), 'white')
    ImageDraw.Draw(picture).rectangle((0, 2, SWATCH, 2 + SWATCH), fill=colour, outline='#555555')
    return picture


def beside(parts: Sequence[Image.Image], gap: int = 0) -> Image.Image:
    """Puts pictures side by side, their tops in a line."""
    width = sum(part.width + gap for part in parts) - gap
    sheet = Image.new('RGB', (width, max(part.height for part in parts)), 'white')
    x = 0
    for part in parts:
        sheet.paste(part, (x, 0))
        x += part.width + gap
    return sheet


def below(parts: Sequence[Image.Image], gap: int = 0) -> Image.Image:
    """Puts pictures one below the other, their left edges in a line."""
    height = sum(part.height + gap for part in parts) - gap
    sheet = Image.new('RGB', (max(part.width for part in parts), height), 'white')
    y = 0
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height + gap
    return sheet
