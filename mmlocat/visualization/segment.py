"""Segments a user's own pictures and videos by one model or two, thin over mmseg's inferencer."""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mmlocat.utils import atomic_write
from mmlocat.visualization.overlay import Prediction, compose

from .demo_models import DEMO_MAX_SIDE, demo_model, load_segmentor
from .sources import Source, find_sources, frame_rate, frames_of, open_video, read_image, write_video

_NAMED = 20  # so many files are named as they are written; of more, their number


class Segmentor:
    """A model with a title.

    Args:
        title: Its name in pictures.
        config: Its config.
        checkpoint: Its weights.
        max_side: Pictures are shrunk to so many px before the config's own test pipeline; None leaves them.
        device: See ``load_segmentor``.
        trust_pickle: See ``load_segmentor``.
    """

    def __init__(self, title: str, config: str, checkpoint: str, max_side: Optional[int] = None,
                 device: Optional[str] = None, trust_pickle: bool = False) -> None:
        self.title, self.max_side = title, max_side
        self.inferencer = load_segmentor(config, checkpoint, device, trust_pickle)

    def __call__(self, pictures: Sequence[np.ndarray]) -> List[Prediction]:
        """Segments pictures of one size.

        Args:
            pictures: Each BGR, shape (H, W, 3), uint8.

        Returns:
            Their predictions, in the order given.
        """
        inputs = [shrink(picture, self.max_side) for picture in pictures]
        samples = self.inferencer(inputs, batch_size=len(inputs), return_datasamples=True)
        samples = samples if isinstance(samples, (list, tuple)) else [samples]
        meta = self.inferencer.model.dataset_meta
        return [Prediction(self.title, sample.pred_sem_seg.data[0].cpu().numpy(), meta['classes'], meta['palette'])
                for sample in samples]


def shrink(picture: np.ndarray, max_side: Optional[int]) -> np.ndarray:
    """Returns a picture whose longer side has at most ``max_side`` px.

    Args:
        picture: Shape (H, W, 3).
        max_side: None leaves it as it is.
    """
    height, width = picture.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return picture
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def image_demo_job(args: argparse.Namespace, console: Console) -> Callable[[], int]:
    """Prepares the segmentation of everything that was named; bad input is found here.

    Args:
        args: Of ``demo/image_demo.py``.
        console: Where to print.

    Returns:
        A function that runs it and returns the number of inputs that failed.

    Raises:
        FileNotFoundError: An input, a config or a checkpoint does not exist.
        ValueError: An input or config is of another kind, or an output would overwrite its input.
        RuntimeError: A checkpoint cannot be read or is of another model.
    """
    sources = find_sources(args.images)
    outputs = output_paths(sources, Path(args.out_dir))
    models = load_models(args)
    return lambda: _run(sources, outputs, models, args, console)


def load_models(args: argparse.Namespace) -> List[Segmentor]:
    """Loads the model, and the one to compare with; those of the demo where none is named."""
    wanted = [(args.config, args.checkpoint, 'locatvit')]
    if args.against is not None:
        wanted.append((*(args.against or (None, None)), 'vit'))
    found: List[Tuple[str, str, str, Optional[int]]] = []
    for config, checkpoint, arm in wanted:
        if config is None:
            model = demo_model(arm, work_dir=args.demo_dir)
            found.append((model.title, str(model.config), str(model.checkpoint), args.max_side or DEMO_MAX_SIDE))
        else:
            found.append((Path(config).stem, config, checkpoint, args.max_side))
    if len(found) == 2 and found[0][0] == found[1][0]:
        found = [(f'{title}, {Path(checkpoint).stem}', config, checkpoint, side)
                 for title, config, checkpoint, side in found]
    return [Segmentor(*model, device=args.device, trust_pickle=args.trust_pickle) for model in found]


def output_paths(sources: Sequence[Source], folder: Path) -> List[Path]:
    """Names the result of each source: its stem, with its folder's name before it where two have the same.

    Args:
        sources: The inputs.
        folder: Where results go.

    Raises:
        ValueError: ``folder`` is a file, or a result would take the place of an input.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f'--out-dir {folder} is a file; it names a folder')
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


def _batches(sources: Sequence[Tuple[Source, Path]], size: int,
             failed: Callable[[Exception], None]) -> Iterator[List[Tuple[Source, Path, np.ndarray]]]:
    """Yields neighbours of the same size together; an image that cannot be read is told and left out."""
    batch: List[Tuple[Source, Path, np.ndarray]] = []
    for source, output in sources:
        try:
            picture = read_image(source.path)
        except (OSError, ValueError) as error:
            failed(error)
            continue
        if batch and (len(batch) == size or batch[0][2].shape != picture.shape):
            yield batch
            batch = []
        batch.append((source, output, picture))
    if batch:
        yield batch


def _run(sources: List[Source], outputs: List[Path], models: List[Segmentor], args: argparse.Namespace,
         console: Console) -> int:
    failures: List[str] = []
    pairs = list(zip(sources, outputs))
    images = [pair for pair in pairs if not pair[0].moves]
    begin = time.monotonic()
    with Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                  TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:

        def failed(error: Exception) -> None:
            failures.append(str(error))
            console.print(f'Error: {error}', markup=False, highlight=False, soft_wrap=True)

        def written(path: Path) -> None:
            if len(pairs) <= _NAMED:
                console.print(str(path), markup=False, highlight=False, soft_wrap=True)

        if images:
            task = progress.add_task('images', total=len(images))

            def unreadable(error: Exception) -> None:
                failed(error)
                progress.advance(task)

            for batch in _batches(images, args.batch_size, unreadable):
                for output, sheet in zip([path for _, path, _ in batch], _sheets(batch, models, args.opacity)):
                    with atomic_write(output, 'wb') as file:
                        Image.fromarray(sheet).save(file, format='png')
                    written(output)
                progress.advance(task, len(batch))
        for source, output in pairs:
            if source.moves:
                try:
                    count = _segment_video(source, output, models, args, progress)
                except (OSError, ValueError, RuntimeError) as error:
                    failed(error)
                else:
                    written(output)
                    console.print(f'{count} frames of {source}', markup=False, highlight=False, soft_wrap=True)
    done = len(pairs) - len(failures)
    console.print(f'{done} of {len(pairs)} done in {time.monotonic() - begin:.1f} s; results are in {args.out_dir}',
                  markup=False, highlight=False, soft_wrap=True)
    return len(failures)


def _sheets(batch: List[Tuple[Source, Path, np.ndarray]], models: List[Segmentor],
            opacity: float) -> Iterator[np.ndarray]:
    pictures = [picture for *_, picture in batch]
    for (source, _, picture), predictions in zip(batch, zip(*(model(pictures) for model in models))):
        height, width = picture.shape[:2]
        yield compose(picture[..., ::-1], predictions, f'{source.path.name}, {width} x {height} px', opacity)


def _segment_video(source: Source, output: Path, models: List[Segmentor], args: argparse.Namespace,
                   progress: Progress) -> int:
    """Writes one video and returns the number of its frames; Ctrl-C ends a camera's, and spoils a file's."""
    count = 0
    with open_video(source) as capture, write_video(output, frame_rate(capture)) as append:
        stated = 0 if source.path is None else int(max(0, capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        known = [number for number in (stated, args.frames) if number]
        task = progress.add_task(str(source), total=min(known, default=None))
        with suppress(KeyboardInterrupt) if source.path is None else nullcontext():
            for frame in frames_of(capture, args.frames):
                predictions = [model([frame])[0] for model in models]
                append(compose(frame[..., ::-1], predictions, str(source), args.opacity, fixed_legend=True))
                count += 1
                progress.advance(task)
        if not count:
            raise ValueError(f'no frame of {source} could be read')
    return count

