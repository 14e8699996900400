#!/usr/bin/env python
"""The demo: plain ViT against LocAtViT on DigitScenes, trained by the same tools. `make demo` calls it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmlocat.utils import check_folder, open_screen, stoppable

if TYPE_CHECKING:  # imported once the options are right
    from mmlocat.experiments.suite.rows import Suite


def read_options() -> argparse.Namespace:
    """Reads the command line."""
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
    try:
        check_folder('--work-dir', args.work_dir)
    except ValueError as error:
        parser.error(str(error))
    return args


def demo_suite(args: argparse.Namespace) -> Suite:
    """Returns the suite that the options ask for."""
    from mmlocat.experiments.suite.rows import load_suite
    suite = load_suite('digitscenes' if args.full else 'demo', range(args.seeds))
    images, steps = args.pretraining_images, args.segmentation_iterations
    if images:
        suite = suite.with_options({'train_dataloader.dataset.indices': images}, heads=False)
    if steps:
        suite = suite.with_options({'train_cfg.max_iters': steps, 'train_cfg.val_interval': steps,
                                    'param_scheduler.0.total_steps': steps}, heads=True)
    return suite


def main() -> int:
    """Runs what is missing, then prints the table and draws the picture."""
    args = read_options()
    open_screen()
    from mmlocat.datasets import prepare_digit_scenes
    from mmlocat.experiments.suite.plan import plan_suite
    from mmlocat.experiments.suite.queue import cores
    from mmlocat.experiments.suite.run import hide_too_few_gpus, run_suite
    from mmlocat.utils.tables import console
    suite, work_dir, screen = demo_suite(args), args.work_dir.resolve(), console()
    try:
        screen.print(f'Data: {prepare_digit_scenes()}', highlight=False, soft_wrap=True)
        trials = plan_suite(suite, work_dir)
    except (OSError, ValueError, RuntimeError) as error:
        print(f'Error: {error}', file=sys.stderr)
        return 1
    lanes = min(cores(), sum(not row.processes for row in suite.rows))
    hide_too_few_gpus(suite, screen)
    return run_suite(suite, trials, work_dir, lanes, screen)


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
