"""Runs ``demo/app.py``: loads models and sample pictures as its arguments say, and serves the page."""

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
    """Prepares the page; errors in models and samples are raised here, before it is served.

    Args:
        args: The arguments of ``demo/app.py``. Their defaults are filled in here: the demo's models are compared, and
            pictures for a user's own model are shrunk.
        load: Loads the models; called once ``args`` are complete.

    Returns:
        A function that serves it until it is interrupted, or times clicks if that was asked for.

    Raises:
        FileNotFoundError: A model or sample does not exist.
        ValueError: A config is of an unsupported kind, or a sample cannot be read.
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
    """Returns the images that the user named, or for the demo's models the first scenes of the test split."""
    if args.samples:
        return [str(source) for source in find_sources(args.samples) if not source.moves]
    scenes = DigitScenesSegmentation('test') if args.config is None else []
    return [scenes.get_data_info(number)['img_path'] for number in range(min(8, len(scenes)))]


def time_clicks(inspector: Inspector, samples: List[np.ndarray], count: int) -> List[float]:
    """Measures how long a click takes, without browser and network, and prints it.

    Args:
        inspector: What computes the page.
        samples: Pictures to click on, RGB; a picture of noise is added to them.
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
