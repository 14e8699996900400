"""The command-line options that name models, for everything in ``demo/``."""

from __future__ import annotations

import argparse

from mmlocat.utils import add_trust_option

from .demo_models import DEMO_MAX_SIDE, DEMO_WORK_DIR


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds the model, the one to compare with, and how they are run.

    Args:
        parser: Where to.
    """
    parser.add_argument('--config', help="config of a segmentor (default: the demo's LocAtViT)")
    parser.add_argument('--checkpoint', help='its weights')
    parser.add_argument('--against', nargs='*', metavar=('CONFIG', 'CHECKPOINT'),
                        help="a second model, shown beside the first (without values: the demo's ViT)")
    parser.add_argument('--device', help="such as 'cpu' or 'cuda:0' (default: the best there is)")
    parser.add_argument('--max-side', type=int, metavar='PX', help='shrink pictures to this before the '
                        f"config's test pipeline (default: {DEMO_MAX_SIDE} for the demo's models)")
    parser.add_argument('--demo-dir', default=DEMO_WORK_DIR,
                        help=f'work dir of `make demo` (default: {DEMO_WORK_DIR})')
    add_trust_option(parser)


def parse(parser: argparse.ArgumentParser, positive: tuple = ()) -> argparse.Namespace:
    """Reads the command line, and ends the process with a word on values that make no sense.

    Args:
        parser: With the options of ``add_model_options``.
        positive: Names of further arguments that must be at least 1.
    """
    args = parser.parse_args()
    if (args.config is None) != (args.checkpoint is None):
        parser.error('--config and --checkpoint go together: give both, or neither for the model of `make demo`')
    if args.against is not None and len(args.against) not in (0, 2):
        parser.error(f'--against takes a config and its checkpoint, or nothing, got {" ".join(args.against)}; '
                     'name the images before it')
    for name in ('max_side', *positive):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, got {value}')
    return args
