"""Defines what the command lines of several tools take; a wrong one is refused before anything heavy is imported."""

from __future__ import annotations

import argparse
from typing import Any, List, Optional, Sequence

from .files import share_folder
from .terminal import add_trust_option

DEMO_WORK_DIR = 'work_dirs/demo'  # of `make demo`
# Scenes have 36 px and digits half of that; in far larger pictures the demo's models see only parts of strokes.
DEMO_MAX_SIDE = 72


class _KeyValues(argparse.Action):
    """Parses KEY=VALUE pairs as mmengine does, with a clear error for an argument that is not one."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for value in values:
            if '=' not in value:
                parser.error(f'{option_string} takes KEY=VALUE, got {value!r}')
        from mmengine.config import DictAction  # takes seconds
        try:
            DictAction(self.option_strings, self.dest)(parser, namespace, values, option_string)
        except (AssertionError, RecursionError) as error:
            what = str(error) if isinstance(error, AssertionError) else 'a value is no number, word, list or tuple'
            parser.error(f'{option_string} {" ".join(values)}: {what}; lists are written as KEY="[a,(b,c)]", what a '
                         'dict holds each by its key, as in model.head.loss.type=CrossEntropyLoss')


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``config`` and ``--cfg-options``, which every tool that reads a config takes."""
    parser.add_argument('config', help='config file, of MMPretrain or MMSegmentation, or the name of a shipped one, '
                        'such as locatvit_upernet_ade20k').completer = complete_config
    parser.add_argument('--cfg-options', nargs='+', action=_KeyValues, metavar='KEY=VALUE',
                        help='changes to the config, such as train_dataloader.batch_size=8 or key="[a,b]"')


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that trainings and tests have in common."""
    add_config_arguments(parser)
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG)')
    add_trust_option(parser)
    parser.add_argument('--adapt-channels', action='store_true', help='average or repeat the first convolution of '
                        'weights for images of other channels (model.backbone.adapt_channels=True)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by older launchers')


def add_analysis_options(parser: argparse.ArgumentParser, out: str) -> None:
    """Adds ``--out``, ``--device``, ``--max-side``, ``--demo-dir`` and ``--trust-pickle``, for ``tools/analysis/``.

    Args:
        parser: The parser to extend.
        out: Default of the folder for results.
    """
    parser.add_argument('--out', default=out, help='folder for pictures and data (default: %(default)s)')
    _add_run_options(parser, 'cpu', "longer images are shrunk to this (default: three times pretraining's "
                     'side)')


def add_segmentor_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name the segmentor and one to compare with, and set how they run, for ``demo/``.

    Args:
        parser: The parser to extend.
    """
    parser.add_argument('--config', help="config, or a shipped one's name (default: the demo's LocAtViT)"
                        ).completer = complete_config
    parser.add_argument('--checkpoint', help='its weights')
    parser.add_argument('--against', nargs='*', metavar=('CONFIG', 'CHECKPOINT'),
                        help="a second model, shown beside the first (without values: the demo's ViT)")
    _add_run_options(parser, None, "shrink pictures to this before the config's test pipeline "
                     f"(default: {DEMO_MAX_SIDE} for the demo's models)")


def _add_run_options(parser: argparse.ArgumentParser, device: Optional[str], max_side: str) -> None:
    """Adds the options of how models run; ``max_side`` is the help of ``--max-side``, device None the best there is."""
    parser.add_argument('--device', default=device,
                        help=f"such as 'cpu' or 'cuda:0' (default: {device or 'the best there is'})")
    parser.add_argument('--max-side', type=int, metavar='PX', help=max_side)
    parser.add_argument('--demo-dir', default=DEMO_WORK_DIR, help='work dir of `make demo` (default: %(default)s)')
    add_trust_option(parser)


def parse_model_options(parser: argparse.ArgumentParser, positive: Sequence[str] = (),
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


def complete_config(prefix: str, **_: Any) -> List[str]:
    """Returns what a config's argument may go on with: names of shipped configs, and Python files."""
    from argcomplete.completers import FilesCompleter
    return [path.stem for path in (share_folder() / 'configs').glob('*.py')] + list(FilesCompleter(['py'])(prefix))
