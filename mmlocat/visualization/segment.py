"""Runs ``demo/image_demo.py``: segments a user's pictures and videos, and writes each beside its segmentations."""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, Sequence

import cv2
from PIL import Image
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from mmlocat.models.building import image_channels
from mmlocat.utils import atomic_write, check_folder

from .overlay import compose
from .pictures import as_picture, frame_for, load_image, shown_of, swap_colours
from .segmentor import Segmentor
from .sources import Source, find_sources, frames_of, moves, open_video, write_video


def image_demo_job(args: argparse.Namespace, load: Callable[[], List[Segmentor]],
                   console: Console) -> Callable[[], int]:
    """Prepares the segmentation of all inputs; errors in them are raised here, before the first is segmented.

    Args:
        args: The arguments of ``demo/image_demo.py``.
        load: Loads the models; called when all inputs have been found.
        console: The console to print to.

    Returns:
        A function that runs it and returns the number of inputs that failed.

    Raises:
        FileNotFoundError: An input, a config or a checkpoint does not exist.
        ValueError: A config is of an unsupported kind, or an output would overwrite its input.
        RuntimeError: A checkpoint cannot be read or is of another model.
    """
    outputs = output_paths(find_sources(args.images), check_folder('--out-dir', args.out_dir))
    models = load()

    def run() -> int:
        say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
        failed = 0
        with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console,
                      disable=not console.is_terminal) as progress:
            for source, output in progress.track(outputs.items(), description='inputs'):
                try:
                    if moves(source):
                        say(_segment_video(source, output, models, args.frames, progress))
                    else:
                        _segment_image(source, output, models)
                except (OSError, ValueError, RuntimeError) as error:
                    failed += 1
                    say(f'Error: {error}')
                else:
                    say(str(output))
        say(f'{len(outputs) - failed} of {len(outputs)} done; results are in {args.out_dir}')
        return failed

    return run


def output_paths(sources: Sequence[Source], folder: Path) -> Dict[Source, Path]:
    """Returns the output path of each source, which has its stem, and a number where two stems are equal."""
    inputs = {source.resolve() for source in sources if isinstance(source, Path)}
    outputs: Dict[Source, Path] = {}
    for source in sources:
        stem = source.stem if isinstance(source, Path) else f'camera{source}_{time.strftime("%Y%m%d-%H%M%S")}'
        suffix = '.mp4' if moves(source) else '.png'
        path, number = folder / (stem + suffix), 2
        while path in outputs.values():
            path, number = folder / f'{stem}_{number}{suffix}', number + 1
        if path.resolve() in inputs:
            raise ValueError(f'the result of {source} would overwrite the input {path}; give another --out-dir')
        outputs[source] = path
    return outputs


def _segment_image(source: Path, output: Path, models: Sequence[Segmentor]) -> None:
    pixels = load_image(source, models[0].model)
    height, width, channels = pixels.shape
    caption = f'{source.name}, {width} x {height} px{shown_of(channels)}'
    sheet = compose(as_picture(swap_colours(pixels)), [model.predict(pixels) for model in models], caption)
    with atomic_write(output, 'wb') as file:
        Image.fromarray(sheet).save(file, format='png')


def _segment_video(source: Source, output: Path, models: Sequence[Segmentor], most: int, progress: Progress) -> str:
    """Writes one video and says how long it is; Ctrl-C finishes a camera's video, and aborts a file's."""
    name, count = str(source) if isinstance(source, Path) else f'camera {source}', 0
    channels, capture = image_channels(models[0].model), open_video(source)
    rate = capture.get(cv2.CAP_PROP_FPS)
    task = progress.add_task(name, total=most or max(0, capture.get(cv2.CAP_PROP_FRAME_COUNT)) or None)
    with write_video(output, rate if 0 < rate <= 1000 else 25.0) as append:  # cameras may not know their rate
        with nullcontext() if isinstance(source, Path) else suppress(KeyboardInterrupt):
            for frame in frames_of(capture, most):
                pixels = frame_for(frame, channels)
                append(compose(as_picture(swap_colours(pixels)), [model.predict(pixels) for model in models], name))
                count += 1
                progress.advance(task)
        if not count:
            raise ValueError(f'no frame of {name} could be read')
    return f'{count} frames of {name}'
