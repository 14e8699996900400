#!/usr/bin/env python
"""The demo: plain ViT against LocAtViT on DigitScenes, trained by the same tools. `make demo` calls it."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from mmlocat.experiments.demo.plan import ARMS, DEMO_ARMS, Budget, plan_seed
from mmlocat.experiments.demo.report import run_demo
from mmlocat.utils import stoppable


def main() -> int:
    """Runs what is missing, then prints the table and draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, default=1, help='how many seeds, from 0 (default: 1)')
    parser.add_argument('--full', action='store_true', help='four arms, the control and the untrained floors')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'), help='default: work_dirs/demo')
    parser.add_argument('--pretraining-images', type=int, help='train on the first so many images (a quick look)')
    parser.add_argument('--segmentation-iterations', type=int, help='iterations of each head (a quick look)')
    args = parser.parse_args()
    for name in ('seeds', 'pretraining_images', 'segmentation_iterations'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, got {value}')
    if args.work_dir.exists() and not args.work_dir.is_dir():
        parser.error(f'--work-dir {args.work_dir} is a file; it names a folder')
    arms = tuple(ARMS) if args.full else DEMO_ARMS
    budget = Budget(args.pretraining_images, args.segmentation_iterations)
    work_dir = args.work_dir.resolve()
    plans = [
        plan_seed(seed, arms, work_dir, budget, with_upernet=seed == 0 and not args.full) for seed in range(args.seeds)
    ]
    return run_demo(plans, work_dir, Console())


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
