"""Finds the models that the demo has trained."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from mmlocat.experiments.demo.plan import ARMS
from mmlocat.utils import share_folder

DEMO_WORK_DIR = Path('work_dirs/demo')
_HEADS = ('linear', 'upernet', 'pretrain')


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


def demo_model(arm: str = 'locatvit', head: str = 'linear', work_dir: Union[str, Path] = DEMO_WORK_DIR,
               seed: int = 0) -> DemoModel:
    """Finds what the demo has trained.

    Args:
        arm: Key of ``ARMS``: 'vit', 'locatvit'; after ``make demo-full`` the others too.
        head: 'linear' for the frozen backbone with the one-layer head, 'upernet', or 'pretrain' for the classifier.
        work_dir: The demo's.
        seed: Of the training.

    Returns:
        The model's config and checkpoint.

    Raises:
        ValueError: ``arm`` or ``head`` is unknown, or the arm has no such head.
        FileNotFoundError: It has not been trained, or its training has not ended; the message says what to run.
    """
    if arm not in ARMS:
        raise ValueError(f'unknown arm {arm!r} of the demo; choose one of {", ".join(ARMS)}')
    if head not in _HEADS:
        raise ValueError(f'unknown head {head!r} of the demo; choose one of {", ".join(_HEADS)}')
    name = ARMS[arm].pretraining if head == 'pretrain' else getattr(ARMS[arm], head)
    if name is None:
        raise ValueError(f'the demo trains no {head} of {arm}')
    folder = Path(work_dir) / f'seed{seed}' / arm / head
    checkpoints = sorted(folder.glob('*_*.pth'), key=_number)
    # The demo writes step.json when a training has ended; until then there are only checkpoints on the way.
    if not checkpoints or not (folder / 'step.json').is_file():
        state = 'has not ended' if checkpoints else 'is not there'
        raise FileNotFoundError(f'the training of the demo model {ARMS[arm].title} in {folder} {state}: run '
                                '`make demo` (a laptop, ten minutes), or give a model of your own')
    return DemoModel(ARMS[arm].title, share_folder() / 'configs' / name, checkpoints[-1])


def _number(path: Path) -> int:
    match = re.search(r'(\d+)\.pth$', path.name)
    return int(match.group(1)) if match else -1
