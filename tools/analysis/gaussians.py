#!/usr/bin/env python
"""Draws sigma and alpha of every block and head over a training, from what GaussianStatsHook wrote."""

import argparse
from pathlib import Path
from typing import Callable

from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import stoppable
from mmlocat.visualization.style import FORMATS
from mmlocat.visualization.timeline import draw_timeline, read_log


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('log', help='work dir of a training, or its scalars.json')
    parser.add_argument('--out', help='PNG or PDF (default: gaussians.png in the work dir, or beside scalars.json)')
    return parser.parse_args()


def prepare(args: argparse.Namespace) -> Callable[[], None]:
    """Reads the log; returns a function that draws."""
    log = Path(args.log)
    series = read_log(log)
    out = Path(args.out or (log.parent if log.is_file() else log) / 'gaussians.png')
    if out.suffix.lstrip('.') not in FORMATS or out.is_dir():
        raise ValueError(f'{out} must be a file that ends in {" or ".join(f".{name}" for name in FORMATS)}')

    def draw() -> None:
        draw_timeline(series, out, f'Gaussians while training: {log.name}\n'
                      'mean over patches, band: ± one standard deviation')
        print(f'Wrote {out}')

    return draw


if __name__ == '__main__':
    with stoppable():
        options = read_options()
        prepare_or_exit(lambda: prepare(options))()
