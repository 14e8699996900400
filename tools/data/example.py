#!/usr/bin/env python
"""Makes forty small images of discs and squares, with label maps or in class folders, to try the way on."""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmlocat.utils import check_folder, stoppable

CLASSES = {'background': (60, 60, 60), 'disc': (220, 60, 60), 'square': (60, 120, 220)}


def draw(number: int, kinds) -> tuple:
    """Returns an image of 72 x 56 px and its label map: 0, 1 disc, 2 square, 255 on borders."""
    rng = np.random.default_rng(number)
    size = (72, 56)
    image, label = Image.new('RGB', size, tuple(rng.integers(0, 90, 3).tolist())), Image.new('L', size)
    for i, kind in enumerate(kinds):
        left, top, side = 4 + 34 * i + int(rng.integers(0, 6)), int(rng.integers(2, 24)), int(rng.integers(18, 28))
        box = (left, top, left + side, top + side)
        shape = 'ellipse' if kind == 1 else 'rectangle'
        getattr(ImageDraw.Draw(image), shape)(box, fill=tuple(rng.integers(120, 255, 3).tolist()))
        getattr(ImageDraw.Draw(label), shape)(box, fill=kind, outline=255)
    return image, label


def make(folder: Path, task: str, count: int = 40) -> None:
    """Writes the images: ``images/`` and ``labels/`` for 'seg', a folder a class for 'cls'."""
    for number in range(count):
        kinds = (1, 2) if task == 'seg' else (1 + number % 2, )
        image, label = draw(number, kinds)
        place = 'images' if task == 'seg' else list(CLASSES)[kinds[0]]
        for kind, picture in ((place, image), ('labels', label if task == 'seg' else None)):
            if picture is not None:
                (folder / kind).mkdir(parents=True, exist_ok=True)
                picture.save(folder / kind / f'{number:02d}.png')
    if task == 'seg':
        lines = (f'{name} {" ".join(map(str, colour))}\n' for name, colour in CLASSES.items())
        (folder / 'classes.txt').write_text(''.join(lines), encoding='utf-8')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path, help='where to write them')
    parser.add_argument('--task', choices=['seg', 'cls'], default='seg', help='label maps, or a folder for each class')
    options = parser.parse_args()
    if options.folder.exists():
        parser.error(f'{options.folder} is there already; name a new folder')
    try:
        check_folder('the folder', options.folder)
    except ValueError as error:
        parser.error(str(error))
    with stoppable():
        make(options.folder, options.task)
