#!/usr/bin/env python
"""Draws sigma and alpha of every block and head over a training, from what GaussianStatsHook wrote."""

import argparse
from pathlib import Path

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import check_folder, stoppable
from mmlocat.visualization.gaussians_over_training import draw_gaussians


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dir', type=Path, help='work dir of a training')
    parser.add_argument('--out', type=Path, help='PNG or PDF (default: gaussians.png in the work dir)')
    return parser.parse_args()


if __name__ == '__main__':
    with stoppable():
        options = read_options()
        out = options.out or options.work_dir / 'gaussians.png'
        prepare_or_exit(lambda: check_folder('the folder of --out', out.parent))
        prepare_or_exit(lambda: draw_gaussians(options.work_dir, out))
        print(f'Wrote {out}')
