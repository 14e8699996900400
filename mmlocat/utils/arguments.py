"""Defines what the command lines of several tools take; a wrong one is refused before anything heavy is imported."""

from __future__ import annotations

import argparse
from typing import Any, List

from .files import share_folder
from .terminal import add_trust_option


class _KeyValues(argparse.Action):
    """Parses KEY=VALUE pairs as mmengine does, with a clear error for an argument that is not one."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for value in values:
            if '=' not in value:
                parser.error(f'{option_string} takes KEY=VALUE, got {value!r}')
        from mmengine.config import DictAction  # takes seconds
        DictAction(self.option_strings, self.dest)(parser, namespace, values, option_string)


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


def complete_config(prefix: str, **_: Any) -> List[str]:
    """Returns what a config's argument may go on with: names of shipped configs, and Python files."""
    from argcomplete.completers import FilesCompleter
    return [path.stem for path in (share_folder() / 'configs').glob('*.py')] + list(FilesCompleter(['py'])(prefix))
