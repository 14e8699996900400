"""Records in the work dir what a result came from; the leaderboard accepts only recorded results.

``provenance.json`` holds the launches of a training (a resumed one has several), the tests, and every config they
ran with, once each, by the hash of its canonical text. Only the first process writes, atomically. A training from
scratch starts a new record, since it overwrites the checkpoints too.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import platform
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel
from mmengine.runner import Runner, find_latest_checkpoint

import mmlocat
from mmlocat.checkpoints.sources import locate
from mmlocat.utils import atomic_write, sha256
from mmlocat.utils.machine import processor

from .class_iou import ClassIoU, add_class_iou
from .context import Context
from .initial_weights import tested_checkpoint
from .recipe import total_batch

FILE = 'provenance.json'
_VERSION = 1
_PACKAGES = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'mmlocat', 'numpy')
# Keys that say where and how a run was started, not what it computed.
_NOT_CONFIG = ('work_dir', 'launcher', 'load_from', 'resume', 'model_wrapper_cfg', 'checks')


def canonical_config(config: Config) -> Dict[str, Any]:
    """Returns a config as JSON-ready data, without seed, folders and launcher.

    Args:
        config: Any config, changed or not.

    Returns:
        Nested dicts, lists, numbers and strings; tuples become lists, other objects become strings.
    """
    settings = json.loads(json.dumps(config.to_dict(), default=str))
    for name in _NOT_CONFIG:
        settings.pop(name, None)
    # A Runner computes the same with checks and without.
    kind = str(settings.pop('runner_type', 'Runner')).split('.')[-1].replace('Checked', '')
    if kind != 'Runner':
        settings['runner_type'] = kind
    if isinstance(settings.get('randomness'), dict):
        settings['randomness'].pop('seed', None)
    return settings


def config_hash(settings: Dict[str, Any]) -> str:
    """Returns the SHA-256 of the canonical text of ``canonical_config``'s data: JSON with sorted keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def describe_checkpoint(source: Optional[Union[str, Path]]) -> Optional[dict]:
    """Returns a checkpoint's name and the SHA-256 of its file; None if there is no checkpoint.

    Args:
        source: A file or an address; the hash is None for weights that are not available as a file.
    """
    if not source:
        return None
    try:
        digest = sha256(locate(str(source)))
    except (OSError, RuntimeError, ValueError):  # such as timm's weights, which are no file
        digest = None
    return dict(source=str(source), sha256=digest)


def checkout() -> Optional[dict]:
    """Returns the commit and whether tracked files differ from it; None if mmlocat does not run from a git checkout."""
    root = Path(mmlocat.__file__).resolve().parent.parent
    if not (root / '.git').exists():
        return None
    try:
        commit, changes = (
            subprocess.run(['git', '-C', str(root), *command], capture_output=True, text=True, check=True,
                           timeout=60).stdout.strip()
            for command in (('rev-parse', 'HEAD'), ('status', '--porcelain', '--untracked-files=no')))
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(commit=commit, dirty=bool(changes))


def versions() -> Dict[str, str]:
    """Returns the versions of Python and of the packages that a result depends on."""
    found = dict(python=platform.python_version())
    for name in _PACKAGES:
        try:
            found[name] = str(importlib.import_module(name).__version__)
        except ImportError:
            continue
    return found


def read_record(work_dir: Union[str, Path]) -> Optional[dict]:
    """Returns the content of a work dir's ``provenance.json``; None if there is no such file.

    Raises:
        ValueError: The file cannot be read, or another version of mmlocat wrote it.
    """
    path = Path(work_dir) / FILE
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ValueError(f'{path} cannot be read ({error}); delete it, and test the checkpoint again') from error
    if not isinstance(record, dict) or record.get('version') != _VERSION:
        raise ValueError(f'{path} is no record of version {_VERSION}, which this mmlocat reads; gather it with the '
                         'mmlocat that wrote it, or delete it and test the checkpoint again')
    return record


def record_training(runner: Runner, context: Context) -> None:
    """Registers a hook that records a training.

    Args:
        runner: The runner that will train.
        context: The context of its checks: initial weights, and differences from the config's file.
    """
    runner.register_hook(_TrainingRecord(context))


def record_test(runner: Runner, context: Context) -> None:
    """Registers a hook that records a test, the IoU of each class included.

    Args:
        runner: The runner that will test.
        context: The context of its checks.
    """
    runner.register_hook(_TestRecord(context, add_class_iou(runner.test_evaluator)))


class _Record(Hook):
    """Base class of the hooks that record trainings and tests."""

    priority = 'LOWEST'  # runs after the checkpoint has been saved

    def __init__(self, context: Context) -> None:
        self.context = context

    def _entry(self, runner: Runner, record: dict) -> dict:
        settings = canonical_config(runner.cfg)
        digest = config_hash(settings)
        record['configs'][digest] = settings
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        return dict(
            date=_now(),
            leaf=Path(runner.cfg.filename or '').stem,
            config=digest,
            options={key: str(value) for key, value in self.context.changed.items()},
            remarks=list(self.context.remarks),
            checkout=checkout(),
            versions=versions(),
            seed=runner.seed,
            processes=runner.world_size,
            device=processor(device))

    @staticmethod
    def _write(runner: Runner, record: dict) -> None:
        used = {entry['config'] for entry in [*record['launches'], *record['tests']]}
        record['configs'] = {digest: settings for digest, settings in record['configs'].items() if digest in used}
        with atomic_write(Path(runner.work_dir) / FILE) as file:
            json.dump(record, file, indent=1, default=float)


class _TrainingRecord(_Record):
    """Adds a launch when training begins, and its end when it ends."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.began = self.first = 0.0

    def before_train(self, runner: Runner) -> None:
        self.began, self.first = time.time(), runner.iter
        if runner.rank:
            return
        record = (read_record(runner.work_dir) if self.context.resumed else None) or _new_record()
        entry = self._entry(runner, record)
        entry.update(
            total_batch=total_batch(runner.cfg, runner.world_size),
            initial_checkpoint=describe_checkpoint(self.context.initial),
            resumed_from=describe_checkpoint(self.context.resumed),
            first_iteration=runner.iter,
            finished=None)
        record['launches'].append(entry)
        self._write(runner, record)

    def after_train(self, runner: Runner) -> None:
        if runner.rank:
            return
        record = read_record(runner.work_dir) or _new_record()
        if not record['launches']:
            return
        last = find_latest_checkpoint(runner.work_dir)
        own = last and Path(last).is_file() and (
            Path(last).stat().st_mtime >= self.began - 2  # some file systems round times coarsely
            or self.context.resumed and Path(last).samefile(self.context.resumed))  # nothing was left to train
        record['launches'][-1]['finished'] = dict(
            date=_now(),
            iteration=runner.iter,
            iterations=runner.max_iters,
            seconds=round(time.time() - self.began, 1),
            seconds_per_iteration=self._seconds_per_iteration(runner),
            checkpoint=describe_checkpoint(last) if own else None)
        self._write(runner, record)

    def _seconds_per_iteration(self, runner: Runner) -> Optional[float]:
        """Returns the median over this launch, data loading included; earlier launches in the log are left out."""
        own = int(runner.iter - self.first)
        if own < 1 or 'train/time' not in runner.message_hub.log_scalars:
            return None
        history, _ = runner.message_hub.get_scalar('train/time').data
        return round(float(np.median(history[-own:])), 6)


class _TestRecord(_Record):
    """Adds the metrics of a test."""

    def __init__(self, context: Context, class_iou: Optional[ClassIoU]) -> None:
        super().__init__(context)
        self.class_iou = class_iou
        self.began = 0.0

    def before_test(self, runner: Runner) -> None:
        self.began = time.time()

    def after_test_epoch(self, runner: Runner, metrics: Optional[dict] = None) -> None:
        if runner.rank or not metrics:
            return
        record = read_record(runner.work_dir) or _new_record()
        entry = self._entry(runner, record)
        classes: Optional[List[str]] = None
        if self.class_iou is not None and self.class_iou.value is not None:
            classes = list(self.class_iou.dataset_meta['classes'])
        entry.update(
            checkpoint=describe_checkpoint(tested_checkpoint(runner.cfg, self.context)),
            tta=isinstance(self.context.model, BaseTTAModel),
            images=len(runner.test_dataloader.dataset),
            seconds=round(time.time() - self.began, 1),
            metrics=metrics,
            classes=classes,
            class_iou=self.class_iou.value if classes else None)
        record['tests'].append(entry)
        self._write(runner, record)


def _new_record() -> dict:
    return dict(version=_VERSION, configs={}, launches=[], tests=[])


def _now() -> str:
    return datetime.now(timezone.utc).replace(microsecond=0).isoformat()
