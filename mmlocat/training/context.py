"""Holds the state that the checks of one job share, and reads the config's ``checks = dict(...)``."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from torch import nn

from mmlocat.checkpoints import reading_once

BUILD, TRAIN, TEST = 'build', 'train', 'test'
# The options of ``checks = dict(...)`` in a config, with their defaults.
OPTIONS = dict(allow_random_backbone=False, data=True, dry_run=False, trust_pickle=False)
# Keys that say where and how a job is started, not what it computes.
OF_THE_LAUNCH = ('checks', 'launcher', 'load_from', 'model_wrapper_cfg', 'resume', 'work_dir')
_reading = ExitStack()


@dataclass
class Context:
    """The state that the checks of one job share."""

    job: Optional[str] = None  # TRAIN or TEST, once it is known
    processes: int = 1
    changed: Dict[str, Any] = field(default_factory=dict)  # see ``changed_since_file``
    options: Dict[str, bool] = field(default_factory=lambda: dict(OPTIONS))  # the config's ``checks``
    remarks: List[str] = field(default_factory=list)  # of the checks so far
    resumed: Optional[str] = None  # the checkpoint that a training resumes from
    initial: Optional[str] = None  # the checkpoint that the backbone starts from
    fitted: Optional[str] = None  # what became of it
    loaded: Optional[str] = None  # the checkpoint that is then loaded into the whole model, if it is another
    work_dir: Optional[str] = None  # where a dry run says that results would go
    scratch: Any = None  # the temporary folder that a dry run writes to instead
    kept: Optional[int] = None  # in a dry run: bytes that a step keeps for its backward pass, in float32
    runner: Any = None  # once it is built
    done: set = field(default_factory=set)  # the checks that have run, with their job
    trained: bool = False  # whether the Runner has trained, or will

    @property
    def model(self) -> nn.Module:
        """The Runner's model, without the wrapper of distributed training."""
        model = self.runner.model
        return model.module if is_model_wrapper(model) else model


def read_options(config: Config, context: Context) -> List[str]:
    """Reads the config's ``checks``.

    Raises:
        ValueError: It is not a dict.
    """
    options = config.get('checks') or {}
    if not isinstance(options, dict):
        raise ValueError(f'checks must be a dict, got {options!r}; set options in it, such as checks.data=False')
    context.options = {**OPTIONS, **options}
    return []


def changed_since_file(config: Config) -> Dict[str, Any]:
    """Returns what options or code have changed since a config's file was read: values by dotted key, None if removed.

    A config without a file counts as unchanged; ``OF_THE_LAUNCH`` is left out.
    """
    try:
        before = flatten(Config.fromfile(config.filename).to_dict())
    except Exception:  # there is no file, or it has gone, or is being edited
        return {}
    now = flatten(config.to_dict())
    return {key: now.get(key) for key in {**now, **before}
            if (key not in before or key not in now or before[key] != now[key])
            and key.split('.')[0] not in OF_THE_LAUNCH}


def flatten(node: Any, prefix: str = '') -> Dict[str, Any]:
    """Returns nested settings as one dict with dotted keys; empty dicts and lists are values."""
    if isinstance(node, (dict, list, tuple)) and node:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        return {key: value for name, child in items for key, value in flatten(child, f'{prefix}{name}.').items()}
    return {prefix[:-1]: node}


def begin_reading_once() -> None:
    """Makes this process open each checkpoint only once, for checks and MMEngine's loaders, until the next call."""
    _reading.close()
    _reading.enter_context(reading_once())


end_reading_once = _reading.close  # called when the weights are loaded, or when the job has failed
