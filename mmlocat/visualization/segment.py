"""Runs ``demo/image_demo.py``: segments a user's pictures and videos, and writes each beside its segmentations."""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mmlocat.utils import atomic_write

from .arguments import output_folder
from .overlay import compose
from .segmentor import Segmentor
from .sources import Source, find_sources, frame_rate, frames_of, open_video, read_image, write_video

_NAMED = 20  # up to this many files are each named when written; beyond it only their number is printed


class _Picture(NamedTuple):
    """An image that has been read: BGR, shape (H, W, 3)."""

    source: Source
    output: Path
    pixels: np.ndarray


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
        ValueError: An input or config is of an unsupported kind, or an output would overwrite its input.
        RuntimeError: A checkpoint cannot be read or is of another model.
    """
    sources = find_sources(args.images)
    outputs = _output_paths(sources, output_folder('--out-dir', args.out_dir))
    models = load()
    return lambda: _run(dict(zip(sources, outputs)), models, args, console)


def _output_paths(sources: Sequence[Source], folder: Path) -> List[Path]:
    """Returns the output path of each source: its stem, prefixed with its folder's name where two stems are equal."""
    inputs = {source.path.resolve() for source in sources if source.path}
    outputs: Dict[str, Path] = {}
    for source in sources:
        suffix = '.mp4' if source.moves else '.png'
        if source.path is None:
            name = f'camera{source.camera}_{time.strftime("%Y%m%d-%H%M%S")}'
        else:
            name = source.path.stem
            if name + suffix in outputs:
                name = f'{source.path.resolve().parent.name}_{source.path.name.replace(".", "_")}'
        base, number = name, 2
        while name + suffix in outputs:
            name, number = f'{base}_{number}', number + 1
        path = folder / (name + suffix)
        if path.resolve() in inputs:
            raise ValueError(f'the result of {source} would overwrite the input {path}; give another --out-dir')
        outputs[name + suffix] = path
    return list(outputs.values())


def _run(outputs: Dict[Source, Path], models: List[Segmentor], args: argparse.Namespace, console: Console) -> int:
    """Segments images, then videos and cameras; returns how many of them failed."""
    failures: List[Exception] = []
    images = {source: output for source, output in outputs.items() if not source.moves}
    begin = time.monotonic()
    with Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                  TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:

        def say(text: object) -> None:
            console.print(str(text), markup=False, highlight=False, soft_wrap=True)

        def failed(error: Exception) -> None:
            failures.append(error)
            say(f'Error: {error}')

        def written(path: Path) -> None:
            if len(outputs) <= _NAMED:
                say(path)

        if images:
            listed = progress.track(images.items(), description='images')
            for batch in _batches(listed, args.batch_size, failed):
                for (_, output, _), sheet in zip(batch, _sheets(batch, models, args.opacity)):
                    with atomic_write(output, 'wb') as file:
                        Image.fromarray(sheet).save(file, format='png')
                    written(output)
        for source, output in outputs.items():
            if source.moves:
                try:
                    count = _segment_video(source, output, models, args, progress)
                except (OSError, ValueError, RuntimeError) as error:
                    failed(error)
                else:
                    written(output)
                    say(f'{count} frames of {source}')
    say(f'{len(outputs) - len(failures)} of {len(outputs)} done in {time.monotonic() - begin:.1f} s; '
        f'results are in {args.out_dir}')
    return len(failures)


def _batches(images: Iterable[Tuple[Source, Path]], size: int,
             failed: Callable[[Exception], None]) -> Iterator[List[_Picture]]:
    """Yields batches of consecutive images of one size; an image that cannot be read is reported and left out."""
    batch: List[_Picture] = []
    for source, output in images:
        try:
            pixels = read_image(source.path)
        except (OSError, ValueError) as error:
            failed(error)
            continue
        if batch and (len(batch) == size or batch[0].pixels.shape != pixels.shape):
            yield batch
            batch = []
        batch.append(_Picture(source, output, pixels))
    if batch:
        yield batch


def _sheets(batch: List[_Picture], models: List[Segmentor], opacity: float) -> Iterator[np.ndarray]:
    found = zip(*(model.predict([picture.pixels for picture in batch]) for model in models))
    for (source, _, pixels), predictions in zip(batch, found):
        caption = f'{source.path.name}, {pixels.shape[1]} x {pixels.shape[0]} px'
        yield compose(pixels[..., ::-1], predictions, caption, opacity)


def _segment_video(source: Source, output: Path, models: List[Segmentor], args: argparse.Namespace,
                   progress: Progress) -> int:
    """Writes one video and returns the number of its frames; Ctrl-C finishes a camera's video, and aborts a file's."""
    count = 0
    with open_video(source) as capture, write_video(output, frame_rate(capture)) as append:
        stated = 0 if source.path is None else int(max(0, capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        known = [number for number in (stated, args.frames) if number]
        task = progress.add_task(str(source), total=min(known, default=None))
        with suppress(KeyboardInterrupt) if source.path is None else nullcontext():
            for frame in frames_of(capture, args.frames):
                predictions = [model.predict([frame])[0] for model in models]
                append(compose(frame[..., ::-1], predictions, str(source), args.opacity, fixed_legend=True))
                count += 1
                progress.advance(task)
        if not count:
            raise ValueError(f'no frame of {source} could be read')
    return count
