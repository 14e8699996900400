"""What ``tools/analysis/attention_maps.py`` does: a model, an image, query patches; pages and data."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Callable, Dict, List, Sequence, Tuple

import numpy as np
from rich.console import Console
from rich.progress import track

from mmlocat.utils import atomic_write
from mmlocat.visualization.demo_models import demo_model

from .loading import largest_side, load_model, read_image
from .maps import Maps, Patch, collect, prepare_image
from .pages import Subject, write_pages

_LARGEST_GRID = 8


def query_patches(maps: Maps, points: Sequence[Tuple[float, float]], side: int, size: Tuple[int, int],
                  factor: float) -> List[Patch]:
    """Finds the patches that a user asks for.

    Args:
        maps: Of the image.
        points: x and y in px of the image file.
        side: Besides, side x side patches evenly over the image; 0 for none.
        size: Width and height of the image file.
        factor: Size of the image that went in, divided by that of the file.

    Returns:
        Rows and columns, each patch once.

    Raises:
        ValueError: A point lies outside the image.
    """
    found = []
    for x, y in points:
        if not (0 <= x < size[0] and 0 <= y < size[1]):
            raise ValueError(f'--at {x:g},{y:g} lies outside the image, which has {size[0]} x {size[1]} px: x from 0 '
                             f'to {size[0] - 1}, y from 0 to {size[1] - 1}')
        found.append(maps.patch_at(x * factor, y * factor))
    height, width = size[1] * factor, size[0] * factor
    found += [maps.patch_at(width * (column + 0.5) / side, height * (row + 0.5) / side)
              for row in range(side) for column in range(side)]
    return list(dict.fromkeys(found))


def arrays(subject: Subject) -> Dict[str, np.ndarray]:
    """Returns all that the pages show, and the prefix tokens' share, as arrays by name; README.md lists them."""
    maps = subject.maps
    data = dict(
        image=subject.image,
        grid=np.array(maps.grid),
        patch_size=np.array(maps.patch_size),
        queries=np.array(subject.patches))
    if maps.refined_class is not None:
        data['refined_class'] = maps.refined_class
    for block in maps.blocks:
        name = f'block{block.index + 1}'
        rows = [block.attention(patch) for patch in subject.patches]
        # As in AttentionRow, with the queries along the second axis.
        for kind in ('without_gaug', 'with_gaug', 'difference', 'prefix_without_gaug', 'prefix_with_gaug'):
            values = [getattr(row, kind) for row in rows]
            if values[0] is not None:
                data[f'{name}_{kind}'] = np.stack(values, axis=1)
        data[f'{name}_mean_distance_without_gaug'] = block.mean_distance(False)
        if block.has_gaug:
            data[f'{name}_mean_distance_with_gaug'] = block.mean_distance(True)
            data[f'{name}_sigma'], data[f'{name}_alpha'] = block.sigma, block.alpha
    return data


def attention_job(args: argparse.Namespace) -> Callable[[], None]:
    """Loads and runs the model; what can be wrong with the input is found here.

    Args:
        args: Those of the tool.

    Returns:
        A function that draws and writes.

    Raises:
        FileNotFoundError: Image, config, checkpoint or the demo's models are not there.
        ValueError: They cannot be read, or a query lies outside the image.
        RuntimeError: The checkpoint is of another model.
        TypeError: The model has no such backbone.
    """
    if bool(args.config) != bool(args.checkpoint):
        raise ValueError('--config and --checkpoint belong together: give both, or neither for the demo model')
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f'--out {out} is a file; it names a folder')
    read_image(args.image, 1 << 30)  # before a model is loaded
    if args.config:
        title, config, checkpoint = Path(args.config).stem, args.config, args.checkpoint
    else:
        found = demo_model(args.arm, 'pretrain', args.demo_dir)
        title, config, checkpoint = f'{found.title} of the demo', found.config, found.checkpoint
    model = load_model(config, checkpoint, args.device, args.trust_pickle)
    image, factor = read_image(args.image, args.max_side or largest_side(model))
    maps = collect(model, prepare_image(model, image))
    size = read_image(args.image, 1 << 30)[0].shape[1::-1]
    side = args.grid if args.grid is not None else (0 if args.at else 1)
    patches = query_patches(maps, args.at, side, size, factor)
    height, width = image.shape[:2]
    shrunk = f', from {size[0]} x {size[1]}' if factor < 1 else ''
    subject = Subject(image, maps, patches, '   |   '.join([
        title, f'{Path(args.image).name}, {width} x {height} px{shrunk}',
        f'patches of {maps.patch_size[1]} x {maps.patch_size[0]} px']))

    def write() -> None:
        pages = write_pages(subject, out, args.format)
        console = Console(stderr=True)
        files = track(pages, 'Drawing pages', total=len(maps.blocks) + 1, console=console,
                      disable=not console.is_terminal)
        written = list(dict.fromkeys(files))
        with atomic_write(out / 'attention_maps.npz', 'wb') as file:
            np.savez_compressed(file, **arrays(subject))
        plural = 's' if len(written) > 1 else ''
        print(f'Wrote {len(written)} {args.format.upper()} file{plural} and attention_maps.npz to {out}')

    return write


def point(text: str) -> Tuple[float, float]:
    """Reads ``x,y``.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    try:
        x, y = (float(part) for part in text.split(','))
        if not (math.isfinite(x) and math.isfinite(y)):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f'takes x,y in px of the image, such as 120,80; got {text!r}') from None
    return x, y


def grid_side(text: str) -> int:
    """Reads the side of a grid of query patches.

    Raises:
        argparse.ArgumentTypeError: It is no number from 1 to 8.
    """
    if not text.isdigit() or not 1 <= int(text) <= _LARGEST_GRID:
        raise argparse.ArgumentTypeError(f'takes a number from 1 to {_LARGEST_GRID}, got {text!r}')
    return int(text)
