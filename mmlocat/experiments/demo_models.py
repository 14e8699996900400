"""Finds the models that the demo has trained."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Dict, NamedTuple, Tuple, Union

from mmlocat.utils.arguments import DEMO_WORK_DIR

from .suite.queue import read_state
from .suite.rows import SuiteRow, load_suite


class DemoModel(NamedTuple):
    """A model that ``make demo`` has trained: its name in pictures, its config, and its last checkpoint."""

    title: str
    config: Path
    checkpoint: Path


@lru_cache(maxsize=None)
def _rows() -> Dict[Tuple[str, str], SuiteRow]:
    """Returns the rows of `make demo` and `make demo-full` by arm and head, which their names are made of."""
    rows = [row for suite in ('digitscenes', 'demo') for row in load_suite(suite).rows]
    return {tuple(row.name.split('/')): row for row in rows}


def demo_arms(head: str) -> Tuple[str, ...]:
    """Returns the names of the demo's arms that have a head, such as 'vit' and 'locatvit'."""
    return tuple(arm for arm, own in _rows() if own == head)


def demo_model(arm: str = 'locatvit', head: str = 'linear', work_dir: Union[str, Path] = DEMO_WORK_DIR,
               seed: int = 0) -> DemoModel:
    """Finds what the demo has trained.

    Args:
        arm: 'vit' or 'locatvit'; after ``make demo-full`` the others too.
        head: 'linear' for the frozen backbone with the one-layer head, 'upernet', or 'pretrain' for the classifier.
        work_dir: The demo's.
        seed: Of the training.

    Raises:
        ValueError: The demo trains no such model.
        FileNotFoundError: It has not been trained, or its training has not ended; the message says what to run.
    """
    row = _rows().get((arm, head))
    if row is None:
        raise ValueError(f'unknown arm {arm!r} or head {head!r} of the demo; it trains '
                         f'{", ".join(map("/".join, _rows()))}')
    folder = Path(work_dir) / f'seed{seed}' / row.name
    checkpoints = sorted([*folder.glob('epoch_*.pth'), *folder.glob('iter_*.pth')],
                         key=lambda path: int(path.stem.split('_')[1]))
    if not checkpoints or read_state(folder).get('seconds') is None:  # until then there are only those on the way
        state = 'has not ended' if checkpoints else 'is not there'
        raise FileNotFoundError(f'the training of the demo model {row.title} in {folder} {state}: run '
                                '`make demo` (a laptop, ten minutes), or give a model of your own')
    return DemoModel(row.title, row.config, checkpoints[-1])
