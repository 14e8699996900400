"""Finds the models that the demo has trained."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Dict, Tuple, Union

from .suite.queue import ended
from .suite.rows import SuiteRow, load_suite

DEMO_WORK_DIR = Path('work_dirs/demo')
_SUITES = ('demo', 'digitscenes')  # what `make demo` and `make demo-full` run


@dataclass(frozen=True)
class DemoModel:
    """A model that ``make demo`` has trained.

    Args:
        title: Its name in pictures.
        config: Its config file.
        checkpoint: The last checkpoint of its training.
    """

    title: str
    config: Path
    checkpoint: Path


@lru_cache(maxsize=None)
def _rows() -> Dict[Tuple[str, str], SuiteRow]:
    """Returns the demo's rows by arm and head, which their names are made of."""
    found: Dict[Tuple[str, str], SuiteRow] = {}
    for suite in _SUITES:
        for row in load_suite(suite).rows:
            arm, _, head = row.name.partition('/')
            found.setdefault((arm, head), row)
    return found


def demo_arms(head: str = '') -> Tuple[str, ...]:
    """Returns the names of the demo's arms, such as 'vit' and 'locatvit'; of those with a head if one is given."""
    return tuple(dict.fromkeys(arm for arm, own in _rows() if head in ('', own)))


def demo_model(arm: str = 'locatvit', head: str = 'linear', work_dir: Union[str, Path] = DEMO_WORK_DIR,
               seed: int = 0) -> DemoModel:
    """Finds what the demo has trained.

    Args:
        arm: One of ``demo_arms()``: 'vit', 'locatvit'; after ``make demo-full`` the others too.
        head: 'linear' for the frozen backbone with the one-layer head, 'upernet', or 'pretrain' for the classifier.
        work_dir: The demo's.
        seed: Of the training.

    Returns:
        The model's config and checkpoint.

    Raises:
        ValueError: ``arm`` or ``head`` is unknown, or the arm has no such head.
        FileNotFoundError: It has not been trained, or its training has not ended; the message says what to run.
    """
    heads = tuple(dict.fromkeys(own for _, own in _rows()))
    if arm not in demo_arms():
        raise ValueError(f'unknown arm {arm!r} of the demo; choose one of {", ".join(demo_arms())}')
    if head not in heads:
        raise ValueError(f'unknown head {head!r} of the demo; choose one of {", ".join(heads)}')
    row = _rows().get((arm, head))
    if row is None:
        raise ValueError(f'the demo trains no {head} of {arm}')
    folder = Path(work_dir) / f'seed{seed}' / row.name
    checkpoints = sorted(folder.glob('*_*.pth'), key=_number)
    if not checkpoints or not ended(folder):  # until then there are only checkpoints on the way
        state = 'has not ended' if checkpoints else 'is not there'
        raise FileNotFoundError(f'the training of the demo model {row.title} in {folder} {state}: run '
                                '`make demo` (a laptop, ten minutes), or give a model of your own')
    return DemoModel(row.title, row.config, checkpoints[-1])


def _number(path: Path) -> int:
    match = re.search(r'(\d+)\.pth$', path.name)
    return int(match.group(1)) if match else -1
