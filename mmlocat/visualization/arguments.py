"""Defines the command-line arguments that name models and set how they run, for ``tools/analysis/`` and ``demo/``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence, Union

from mmlocat.models.building import image_channels
from mmlocat.utils import add_trust_option

from .segmentor import DEMO_MAX_SIDE, Segmentor, load_segmentor


class ModelFiles(NamedTuple):
    """A trained model's name in pictures, its config file and its weights."""

    title: str
    config: Union[str, Path]
    checkpoint: Union[str, Path]


def add_analysis_options(parser: argparse.ArgumentParser, demo_dir: Union[str, Path], out: str) -> None:
    """Adds ``--out``, ``--device``, ``--max-side``, ``--demo-dir`` and ``--trust-pickle``, for ``tools/analysis/``.

    Args:
        parser: The parser to extend.
        demo_dir: Default of the demo's work dir.
        out: Default of the folder for results.
    """
    parser.add_argument('--out', default=out, help='folder for pictures and data (default: %(default)s)')
    _add_run_options(parser, demo_dir, 'cpu', "longer images are shrunk to this (default: three times pretraining's "
                     'side)')


def add_segmentor_options(parser: argparse.ArgumentParser, demo_dir: Union[str, Path]) -> None:
    """Adds the options that name the segmentor and one to compare with, and set how they run, for ``demo/``.

    Args:
        parser: The parser to extend.
        demo_dir: Default of the demo's work dir.
    """
    parser.add_argument('--config', help="config of a segmentor (default: the demo's LocAtViT)")
    parser.add_argument('--checkpoint', help='its weights')
    parser.add_argument('--against', nargs='*', metavar=('CONFIG', 'CHECKPOINT'),
                        help="a second model, shown beside the first (without values: the demo's ViT)")
    _add_run_options(parser, demo_dir, None, "shrink pictures to this before the config's test pipeline "
                     f"(default: {DEMO_MAX_SIDE} for the demo's models)")


def _add_run_options(parser: argparse.ArgumentParser, demo_dir: Union[str, Path], device: Optional[str],
                     max_side: str) -> None:
    """Adds the options of how models run; ``max_side`` is the help of ``--max-side``, device None the best there is."""
    parser.add_argument('--device', default=device,
                        help=f"such as 'cpu' or 'cuda:0' (default: {device or 'the best there is'})")
    parser.add_argument('--max-side', type=int, metavar='PX', help=max_side)
    parser.add_argument('--demo-dir', default=str(demo_dir), help='work dir of `make demo` (default: %(default)s)')
    add_trust_option(parser)


def parse(parser: argparse.ArgumentParser, positive: Sequence[str] = ()) -> argparse.Namespace:
    """Reads the command line; on values that make no sense, ends the process with a message.

    Args:
        parser: A parser with the options of one of the functions above.
        positive: Names of further arguments that must be at least 1.
    """
    args = parser.parse_args()
    if 'config' in args and (args.config is None) != (args.checkpoint is None):
        parser.error('--config and --checkpoint go together: give both, or neither for the model of `make demo`')
    if getattr(args, 'against', None) is not None and len(args.against) not in (0, 2):
        parser.error(f'--against takes a config and its checkpoint, or nothing, got {" ".join(args.against)}; '
                     'name the images before it')
    for name in ('max_side', *positive):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, got {value}')
    return args


def load_segmentors(args: argparse.Namespace, trained: Callable[[str], ModelFiles]) -> List[Segmentor]:
    """Loads the segmentor and, if asked for, the one to compare with.

    Args:
        args: The values of the options of ``add_segmentor_options``.
        trained: Returns the demo's trained model of an arm, for where the user names none: 'locatvit' as the first,
            'vit' to compare with.

    Raises:
        FileNotFoundError: A config or checkpoint does not exist.
        ValueError: A config is no segmentor's, or the two take images of different channels.
        RuntimeError: A checkpoint cannot be read or is of another model.
    """
    def load(config: Optional[str], checkpoint: Optional[str], arm: str) -> Segmentor:
        title = f'{Path(config).stem}, {Path(checkpoint).stem}' if config else ''
        files = ModelFiles(title, config, checkpoint) if config else trained(arm)
        return load_segmentor(files.config, files.checkpoint, args.device, args.trust_pickle, files.title,
                              args.max_side or (None if config else DEMO_MAX_SIDE))

    models = [load(args.config, args.checkpoint, 'locatvit')]
    if args.against is not None:
        models.append(load(*(args.against or (None, None)), 'vit'))
        taken = [image_channels(one.model) for one in models]
        if taken[0] != taken[1]:
            raise ValueError(f'the models take images of {taken[0]} and {taken[1]} channels; compare two that take the '
                             'same images')
    return models
