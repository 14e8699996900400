"""Keeps a work dir to one training at a time, and records in it what a result came from, for the leaderboard.

``provenance.json`` holds the launches of a training (a resumed one has several), the tests, and every config they
ran with, once each, by the hash of its canonical text. Only the first process writes, atomically. A training from
scratch starts a new record, since it overwrites the checkpoints too.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, Dict, List, Optional, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel
from mmengine.runner import Runner, find_latest_checkpoint

from mmlocat.checkpoints.sources import locate
from mmlocat.utils import atomic_write, check_folder, sha256
from mmlocat.utils.machine import checkout, processor, versions
from mmlocat.utils.terminal import is_main_process

from .context import OF_THE_LAUNCH, Context
from .hardware import total_batch
from .initial_weights import tested_checkpoint
from .iou_metric import keep_class_iou

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FILE = 'provenance.json'
_VERSION = 1
_held: Dict[Path, IO] = {}  # the locked files of this process


def check_work_dir(config: Config, context: Context) -> List[str]:
    """Makes sure that the work dir is a folder that can be written, or can be made.

    Raises:
        ValueError: It is not.
    """
    if config.get('work_dir'):
        check_folder('--work-dir', config.work_dir)
    return []


def claim_work_dir(config: Config, context: Context) -> List[str]:
    """Locks the work dir for the first process, since two trainings would overwrite each other's checkpoints.

    The operating system releases the lock when the process ends, in any way. Does nothing if the system or file system
    has no such locks. A process may claim a work dir several times. A dry run only looks whether it could.

    Raises:
        RuntimeError: Another process trains there.
    """
    path, dry = Path(context.work_dir or config.work_dir).resolve() / '.training', context.options['dry_run']
    if fcntl is None or path in _held or not is_main_process() or (dry and not path.exists()):
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, 'a+', encoding='utf-8')
    try:
        # Not flock: data-loader workers would inherit it, and keep it after this process has been killed.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        holder = file.read().strip() or 'unknown'
        file.close()
        raise RuntimeError(f'another training ({holder}) writes to {config.work_dir}; give this one its own with '
                           '--work-dir, or wait until that one has ended') from error
    except OSError:  # such a file system has no locks
        file.close()
        return []
    if dry:
        file.close()
        return []
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}')
    file.flush()
    _held[path] = file
    return []


def canonical_config(config: Config) -> Dict[str, Any]:
    """Returns a config as JSON-ready data without seed, folders and launcher: tuples become lists, objects strings."""
    settings = json.loads(json.dumps(config.to_dict(), default=str))
    for name in OF_THE_LAUNCH:
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


def describe_checkpoint(source: Union[str, Path, None]) -> Optional[dict]:
    """Returns a checkpoint's name and the SHA-256 of its file, None for weights that are not available as a file."""
    if not source:
        return None
    try:
        digest = sha256(locate(str(source)))
    except (OSError, RuntimeError, ValueError):  # such as timm's weights, which are no file
        digest = None
    return dict(source=str(source), sha256=digest)


def read_record(work_dir: Union[str, Path]) -> Optional[dict]:
    """Returns the content of a work dir's ``provenance.json``; None if there is no such file.

    Raises:
        ValueError: The file cannot be read, or another version of mmlocat wrote it.
    """
    path = Path(work_dir) / FILE
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
        if record['version'] != _VERSION:
            raise ValueError(f'version {record["version"]}, not {_VERSION}')
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f'{path} cannot be read ({error}); delete it, and test the checkpoint again') from error
    return record


class RecordHook(Hook):
    """Records the launches of a training and their ends, and tests, with what the context of their checks knows."""

    priority = 'LOWEST'  # runs after the checkpoint has been saved

    def __init__(self, context: Context) -> None:
        self.context = context
        self.metric = None

    def before_train(self, runner: Runner) -> None:
        """Writes what is trained, and from what."""
        self.began, self.first = time.time(), runner.iter
        if runner.rank == 0:
            self._add(
                runner,
                read_record(runner.work_dir) if self.context.resumed else None,
                'launches',
                total_batch=total_batch(runner.cfg, runner.world_size),
                initial_checkpoint=describe_checkpoint(self.context.initial),
                resumed_from=describe_checkpoint(self.context.resumed),
                first_iteration=runner.iter,
                finished=None)

    def after_train(self, runner: Runner) -> None:
        """Writes how far it came, how long that took, its last checkpoint, and its best if the config keeps one."""
        record = read_record(runner.work_dir) if runner.rank == 0 else None
        if not record or not record['launches']:
            return
        last = find_latest_checkpoint(runner.work_dir)
        own = last and Path(last).is_file() and (
            Path(last).stat().st_mtime >= self.began - 2  # some file systems round times coarsely
            or self.context.resumed and Path(last).samefile(self.context.resumed))  # nothing was left to train
        best = next((hook.best_ckpt_path for hook in runner.hooks if getattr(hook, 'best_ckpt_path', None)), None)
        iterations, pace = int(runner.iter - self.first), None
        if iterations and 'train/time' in runner.message_hub.log_scalars:
            times, _ = runner.message_hub.get_scalar('train/time').data  # data loading included
            pace = round(float(np.median(times[-iterations:])), 6)  # not of earlier launches
        record['launches'][-1]['finished'] = dict(
            date=_now(),
            iteration=runner.iter,
            iterations=runner.max_iters,
            seconds=round(time.time() - self.began, 1),
            seconds_per_iteration=pace,
            checkpoint=describe_checkpoint(last) if own else None,
            best=describe_checkpoint(best))
        _write(runner, record)

    def before_test(self, runner: Runner) -> None:
        """Keeps the time, and adds what computes the IoU of each class."""
        self.began = time.time()
        self.metric = self.metric or keep_class_iou(runner.test_evaluator)

    def after_test_epoch(self, runner: Runner, metrics: Optional[dict] = None) -> None:
        """Writes what was tested, and the result."""
        if runner.rank or not metrics:
            return
        classes = None
        if self.metric is not None and self.metric.class_iou is not None:
            classes = list(self.metric.dataset_meta['classes'])
        self._add(
            runner,
            read_record(runner.work_dir),
            'tests',
            checkpoint=describe_checkpoint(tested_checkpoint(runner.cfg, self.context)),
            tta=isinstance(self.context.model, BaseTTAModel),
            images=len(runner.test_dataloader.dataset),
            seconds=round(time.time() - self.began, 1),
            metrics=metrics,
            classes=classes,
            class_iou=self.metric.class_iou if classes else None)

    def _add(self, runner: Runner, record: Optional[dict], kind: str, **facts: Any) -> None:
        """Adds a launch or a test to a record, or to a new one, with what both have in common, and writes it."""
        record = record or dict(version=_VERSION, configs={}, launches=[], tests=[])
        settings = canonical_config(runner.cfg)
        digest = config_hash(settings)
        code = checkout()
        record['configs'][digest] = settings
        record[kind].append(
            dict(
                date=_now(),
                leaf=Path(runner.cfg.filename or '').stem,
                config=digest,
                options={key: str(value) for key, value in self.context.changed.items()},
                remarks=list(self.context.remarks),
                checkout=None if code is None else dict(commit=code[0], dirty=code[1]),
                versions=versions(),
                seed=runner.seed,
                processes=runner.world_size,
                device=processor('cuda' if torch.cuda.is_available() else 'cpu'),
                **facts))
        _write(runner, record)


def _write(runner: Runner, record: dict) -> None:
    with atomic_write(Path(runner.work_dir) / FILE) as file:
        json.dump(record, file, indent=1, default=float)


def _now() -> str:
    return datetime.now(timezone.utc).replace(microsecond=0).isoformat()
