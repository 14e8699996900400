"""From the command line to a page that is served."""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Callable, List

import numpy as np

from mmlocat.datasets import DigitScenesSegmentation
from mmlocat.visualization.segmentor import Segmentor
from mmlocat.visualization.sources import find_sources

from .inspector import Inspector
from .page import build_page, launch

_OWN_MAX_SIDE = 512  # px, for models of the user's own: a click on a CPU must not take a minute


def app_job(args: argparse.Namespace, load: Callable[[], List[Segmentor]]) -> Callable[[], None]:
    """Prepares the page; whatever is wrong with models and samples is found here.

    Args:
        args: Of ``demo/app.py``.
        load: Loads the models, as ``args`` says then: those of the demo are compared unless told otherwise, and
            pictures for others are shrunk.

    Returns:
        A function that serves it until it is interrupted, or times clicks if that was asked for.

    Raises:
        FileNotFoundError: A model or sample does not exist.
        ValueError: A config or sample is of another kind.
        RuntimeError: A checkpoint cannot be read or is of another model.
        TypeError: The first model's backbone is no ViT.
    """
    if args.config is None and args.against is None:
        args.against = []
    if args.config is not None and args.max_side is None:
        args.max_side = _OWN_MAX_SIDE
    inspector = Inspector(load())
    samples = [inspector.read(path) for path in _samples(args)]
    if args.time_clicks:
        return lambda: time_clicks(inspector, samples, args.time_clicks)

    def serve() -> None:
        try:
            launch(build_page(inspector, samples), args.host, args.port)
        except OSError as error:
            raise SystemExit(f'Error: {args.host}:{args.port or "7860 and on"}: {error}; '
                             'give another --port') from error

    return serve


def _samples(args: argparse.Namespace) -> List[str]:
    """Returns the images that were named, else the first scenes of the test split for the demo's models."""
    if args.samples:
        return [str(source) for source in find_sources(args.samples) if not source.moves]
    scenes = DigitScenesSegmentation('test') if args.config is None else []
    return [scenes.get_data_info(number)['img_path'] for number in range(min(8, len(scenes)))]


def time_clicks(inspector: Inspector, samples: List[np.ndarray], count: int) -> List[float]:
    """Measures what a click costs, without browser and network, and prints it.

    Args:
        inspector: Of the page.
        samples: Pictures to click on, RGB; noise besides.
        count: How many clicks, at random patches and blocks.

    Returns:
        Seconds of each click.
    """
    random = np.random.default_rng(0)
    side = inspector.models[0].max_side or _OWN_MAX_SIDE
    samples = [*samples, random.integers(0, 256, (side, side, 3), dtype=np.uint8)]
    seconds = []
    inspector.look(samples[0], inspector.middle(samples[0]), 1)
    for number in range(count):
        image = samples[number % len(samples)]
        begin = time.perf_counter()
        patch = inspector.patch_at(image, tuple(random.uniform(0, 480, 2)))
        inspector.look(image, patch, 1 + number % inspector.num_blocks)
        seconds.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    inspector.segment(samples[-1])
    new = time.perf_counter() - begin
    print(f'{count} clicks: median {statistics.median(seconds):.3f} s, slowest {max(seconds):.3f} s; '
          f'segmentations of a new picture by {len(inspector.models)} models: {new:.3f} s')
    return seconds
