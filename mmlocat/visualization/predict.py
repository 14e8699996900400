"""Runs ``tools/predict.py``: names what is in a user's pictures, prints it as a table, and draws it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Callable, Dict, Tuple

import numpy as np
from PIL import Image

from mmlocat.utils import atomic_write, check_folder
from mmlocat.utils.tables import Table

from .arguments import named_files
from .overlay import Prediction, compose, compose_classes
from .pictures import as_picture, load_image, shown_of, swap_colours
from .segment import output_paths
from .segmentor import Predictor, load_predictor
from .sources import find_sources, moves


def predict_job(args: argparse.Namespace) -> Callable[[], int]:
    """Finds pictures and loads the model; errors in them are raised here, before the first picture is looked at.

    Args:
        args: The arguments of ``tools/predict.py``.

    Returns:
        A function that looks at all pictures and returns how many could not be read.

    Raises:
        FileNotFoundError: A picture, the config or the checkpoint does not exist.
        ValueError: There are videos alone, the config is of another task, or has no weights.
        RuntimeError: The checkpoint cannot be read or is of another model.
    """
    pictures = [source for source in find_sources(args.pictures) if not moves(source)]
    if not pictures:
        raise ValueError(f'{" ".join(args.pictures)} names no picture, but videos or cameras; demo/image_demo.py '
                         'segments those')
    outputs = output_paths(pictures, check_folder('--out-dir', args.out_dir))
    files = named_files(args.model, args.checkpoint)
    if files.checkpoint is None:
        raise ValueError(f'no weights are published for --model {args.model}; give yours by --checkpoint FILE, such as '
                         f'work_dirs/{Path(files.config).stem}/NAME.pth')
    model = load_predictor(files.config, files.checkpoint, args.device, args.trust_pickle, files.title)

    def run() -> int:
        failed, table, widths = 0, None, [max(len(str(picture)) for picture in outputs), 24, 0]
        for picture, output in outputs.items():
            try:
                found, what = _look(picture, output, model)
            except (OSError, ValueError, RuntimeError) as error:
                failed += 1
                print(f'Error: {error}', file=sys.stderr)
                continue
            table = table or Table(['picture', 'class', what], f'The model: {model.origin}.', words=2)
            for name, value in found.items():
                table.print_row(str(picture), name, f'{value:.1%}', widths=widths)
        print(f'{len(outputs) - failed} of {len(outputs)} done; pictures are in {args.out_dir}')
        return failed

    return run


def _look(picture: Path, output: Path, model: Predictor) -> Tuple[Dict[str, float], str]:
    """Draws what a model finds in a picture; returns a number for each class found, largest first, and what it is."""
    pixels = load_image(picture, model.model)
    height, width, channels = pixels.shape
    shown, caption = as_picture(swap_colours(pixels)), f'{picture.name}, {width} x {height} px{shown_of(channels)}'
    found = model.predict(pixels)
    if isinstance(found, Prediction):
        sheet, numbers, what = compose(shown, [found], caption), shares(found), 'share of the area'
    else:
        sheet, numbers, what = compose_classes(shown, model.title, found, caption), found, 'probability'
    with atomic_write(output, 'wb') as file:
        Image.fromarray(sheet).save(file, format='png')
    return numbers, what


def shares(prediction: Prediction) -> Dict[str, float]:
    """Returns which part of a picture each class covers, from 0 to 1, by name; the largest first."""
    found, areas = np.unique(prediction.labels, return_counts=True)
    return {prediction.classes[found[place]]: areas[place] / prediction.labels.size
            for place in np.argsort(-areas, kind='stable') if 0 <= found[place] < len(prediction.classes)}
