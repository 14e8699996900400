"""Defines the command-line arguments that name models and set how they run, for ``tools/analysis/`` and ``demo/``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence, Union

from mmlocat.models.building import image_channels
from mmlocat.utils import add_trust_option
from mmlocat.zoo import find_model

from .segmentor import DEMO_MAX_SIDE, Predictor, load_segmentor


class ModelFiles(NamedTuple):
    """A trained model's name in pictures, its config file and its weights; None for random ones."""

    title: str
    config: Union[str, Path]
    checkpoint: Union[str, Path, None]


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
    parser.add_argument('--config', help="config, or a shipped one's name (default: the demo's LocAtViT)")
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


def parse(parser: argparse.ArgumentParser, positive: Sequence[str] = (),
          config_alone: bool = False) -> argparse.Namespace:
    """Reads the command line; on values that make no sense, ends the process with a message.

    Args:
        parser: A parser with the options of one of the functions above.
        positive: Names of further arguments that must be at least 1.
        config_alone: Whether a config may come without a checkpoint.
    """
    args = parser.parse_args()
    alone = config_alone and args.checkpoint is None
    if 'config' in args and (args.config is None) != (args.checkpoint is None) and not alone:
        parser.error('--config and --checkpoint go together: give both, or neither for the model of `make demo`')
    if getattr(args, 'against', None) is not None and len(args.against) not in (0, 2):
        parser.error(f'--against takes a config and its checkpoint, or nothing, got {" ".join(args.against)}; '
                     'name the images before it')
    for name in ('max_side', *positive):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, got {value}')
    return args


def output_folder(option: str, folder: str) -> Path:
    """Returns the folder that an option names for results; ValueError if it is a file."""
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f'{option} {folder} is a file; it names a folder')
    return Path(folder)


def named_files(config: str, checkpoint: Optional[str] = None) -> ModelFiles:
    """Finds what a user names, with a title for pictures.

    Args:
        config: A config file, or the name of a shipped one, which may bring its published weights.
        checkpoint: Weights; by default the published ones. Where there are none, weights are random.

    Raises:
        ValueError: No config is shipped under the name.
    """
    if not Path(config).suffix and not Path(config).exists():
        config, published = find_model(config)
        checkpoint = checkpoint or published
    return ModelFiles(f'{Path(config).stem}, {Path(checkpoint).stem if checkpoint else "random weights"}', config,
                      checkpoint)


def load_segmentors(args: argparse.Namespace, trained: Callable[[str], ModelFiles],
                    load: Callable[..., Predictor] = load_segmentor) -> List[Predictor]:
    """Loads the model and, if asked for, the one to compare with.

    Args:
        args: The values of the options of ``add_segmentor_options``.
        trained: Returns the demo's trained model of an arm, for where the user names none: 'locatvit' as the first,
            'vit' to compare with.
        load: ``load_segmentor``, or ``load_predictor`` to take classifiers too.

    Raises:
        FileNotFoundError: A config or checkpoint does not exist.
        ValueError: A config is of a task that ``load`` does not take, or the two take images of different channels.
        RuntimeError: A checkpoint cannot be read or is of another model.
    """
    def load_one(config: Optional[str], checkpoint: Optional[str], arm: str) -> Predictor:
        files = named_files(config, checkpoint) if config else trained(arm)
        return load(files.config, files.checkpoint, args.device, args.trust_pickle, files.title,
                    args.max_side or (None if config else DEMO_MAX_SIDE))

    models = [load_one(args.config, args.checkpoint, 'locatvit')]
    if args.against is not None:
        models.append(load_one(*(args.against or (None, None)), 'vit'))
        taken = [image_channels(one.model) for one in models]
        if taken[0] != taken[1]:
            raise ValueError(f'the models take images of {taken[0]} and {taken[1]} channels; compare two that take the '
                             'same images')
    return models
