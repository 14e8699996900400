"""Holds the state that the checks of one job share, and reads the config's ``checks = dict(...)``."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmlocat.checkpoints import reading_once
from mmlocat.utils import suggestion

BUILD, TRAIN, TEST = 'build', 'train', 'test'
# The options of ``checks = dict(...)`` in a config, with their defaults.
OPTIONS = dict(allow_random_backbone=False, data=True, trust_pickle=False)
# Keys that say where and how a job is started, not what it computes.
_OF_THE_LAUNCH = ('checks', 'launcher', 'load_from', 'resume', 'work_dir')
_reading = ExitStack()


@dataclass
class Context:
    """The state that the checks of one job share.

    Args:
        job: TRAIN or TEST if the caller that builds the Runner named the job; None until it is known.
        runner_class: The class of the Runner.
        processes: The number of processes.
        options: The config's ``checks``, defaults included.
        changed: The differences from the config's file, see ``changed_since_file``.
        remarks: The remarks of the checks so far.
        resumed: The checkpoint that a training resumes from.
        validated: The iteration at which the resumed run had ended with its last validation.
        initial: The checkpoint that the backbone starts from.
        runner: The Runner, once it is built.
        done: The checks that have run.
        trained: Whether the Runner has trained, or will.
    """

    job: Optional[str] = None
    runner_class: type = Runner
    processes: int = 1
    options: Dict[str, bool] = field(default_factory=lambda: dict(OPTIONS))
    changed: Dict[str, Any] = field(default_factory=dict)
    remarks: List[str] = field(default_factory=list)
    resumed: Optional[str] = None
    validated: Optional[int] = None
    initial: Optional[str] = None
    runner: Any = None
    done: set = field(default_factory=set)
    trained: bool = False

    @property
    def model(self) -> nn.Module:
        """The Runner's model, without the wrapper of distributed training."""
        model = self.runner.model
        return model.module if is_model_wrapper(model) else model


def read_options(config: Config, context: Context) -> List[str]:
    """Reads the config's ``checks``.

    Raises:
        ValueError: It holds an unknown option, or a value that is neither True nor False.
    """
    given = config.get('checks') or {}
    for name, value in given.items():
        if name not in OPTIONS:
            raise ValueError(f'checks.{name}: there is no such option'
                             + (suggestion(name, OPTIONS) or f'; there are {", ".join(OPTIONS)}'))
        if not isinstance(value, bool):
            raise ValueError(f'checks.{name} must be True or False, got {value!r}')
    context.options = {**OPTIONS, **given}
    return []


def changed_since_file(config: Config) -> Dict[str, Any]:
    """Returns the settings that options or code have changed since a config's file was read.

    Args:
        config: Any config; one without a file counts as unchanged.

    Returns:
        New values by dotted key, None for removed ones. Work dir, launcher, ``checks``, ``load_from`` and ``resume``
        are left out.
    """
    if not config.filename:
        return {}
    try:
        before = flatten(Config.fromfile(config.filename).to_dict())
    except Exception:  # the file has gone, or is being edited
        return {}
    now = flatten(config.to_dict())
    return {key: now.get(key) for key in [*now, *(key for key in before if key not in now)]
            if (key not in before or key not in now or before[key] != now[key])
            and key.split('.')[0] not in _OF_THE_LAUNCH}


def flatten(node: Any, prefix: str = '') -> Dict[str, Any]:
    """Returns nested settings as one dict with dotted keys; empty dicts and lists are values."""
    if isinstance(node, (dict, list, tuple)) and node:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        return {key: value for name, child in items for key, value in flatten(child, f'{prefix}{name}.').items()}
    return {prefix[:-1]: node}


def begin_reading_once() -> None:
    """Makes this process open each checkpoint only once, for checks and MMEngine's loaders, until the next call."""
    end_reading_once()
    _reading.enter_context(reading_once())


def end_reading_once() -> None:
    """Drops the checkpoints that were kept; called when the weights are loaded, or when the job has failed."""
    _reading.close()
