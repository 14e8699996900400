"""Runs ``tools/analysis/attention_maps.py``: draws a model's attention on an image and saves the numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Callable, Dict, List, Sequence, Tuple

import numpy as np
from rich.progress import track

from mmlocat.models.building import load_model
from mmlocat.utils import atomic_write
from mmlocat.utils.tables import console

from .arguments import ModelFiles, output_folder
from .attention_pages import Subject, write_pages
from .blocks import Maps, Patch
from .maps import collect, largest_side, prepare_image
from .sources import read_image, shrink


def _query_patches(maps: Maps, points: Sequence[Tuple[float, float]], side: int, size: Tuple[int, int],
                   factor: float) -> List[Patch]:
    """Finds the patches at given points of the image file (``size`` px), and side x side more, evenly spread."""
    (width, height), found = size, []
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f'--at {x:g},{y:g} lies outside the image, which has {width} x {height} px: x from 0 '
                             f'to {width - 1}, y from 0 to {height - 1}')
        found.append((x, y))
    found += [(width * (column + 0.5) / side, height * (row + 0.5) / side)
              for row in range(side) for column in range(side)]
    return list(dict.fromkeys(maps.patch_at(x * factor, y * factor) for x, y in found))


def arrays(subject: Subject) -> Dict[str, np.ndarray]:
    """Returns everything on the pages, and the weights of prefix tokens, as arrays by name; README.md lists them."""
    maps = subject.maps
    data = dict(image=subject.image, grid=np.array(maps.grid), patch_size=np.array(maps.patch_size),
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


def attention_job(args: argparse.Namespace, files: Callable[[], ModelFiles]) -> Callable[[], None]:
    """Loads and runs the model; errors in the input are raised here, before anything is drawn.

    Args:
        args: The arguments of the tool.
        files: Returns the model's files; called when the image has been read.

    Returns:
        A function that draws the pages and writes the files.

    Raises:
        FileNotFoundError: Image, config or checkpoint do not exist.
        ValueError: They cannot be read, or a query lies outside the image.
        RuntimeError: The checkpoint is of another model.
        TypeError: The model's backbone is of a kind whose attention cannot be read.
    """
    out = output_folder('--out', args.out)
    picture = read_image(args.image)
    chosen = files()
    model = load_model(chosen.config, chosen.checkpoint, args.device, trust_pickle=args.trust_pickle)
    image = np.ascontiguousarray(shrink(picture, args.max_side or largest_side(model))[..., ::-1])
    maps = collect(model, prepare_image(model, image))
    (width, height), size = image.shape[1::-1], picture.shape[1::-1]
    side = args.grid if args.grid is not None else (0 if args.at else 1)
    patches = _query_patches(maps, args.at, side, size, max(width, height) / max(size))
    shrunk = f', from {size[0]} x {size[1]}' if max(width, height) < max(size) else ''
    subject = Subject(image, maps, patches, '   |   '.join([
        chosen.title, f'{Path(args.image).name}, {width} x {height} px{shrunk}',
        f'patches of {maps.patch_size[1]} x {maps.patch_size[0]} px']))

    def write() -> None:
        screen = console(stderr=True)
        pages = track(write_pages(subject, out, args.format), 'Drawing pages', total=len(maps.blocks) + 1,
                      console=screen, disable=not screen.is_terminal)
        written = list(dict.fromkeys(pages))
        with atomic_write(out / 'attention_maps.npz', 'wb') as file:
            np.savez_compressed(file, **arrays(subject))
        plural = 's' if len(written) > 1 else ''
        print(f'Wrote {len(written)} {args.format.upper()} file{plural} and attention_maps.npz to {out}')

    return write
