"""Finds the checkpoint that ``--resume`` continues from, and reports what has changed since it was saved."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, List, Optional

from mmengine.config import Config

from mmlocat.checkpoints.errors import CheckpointError
from mmlocat.checkpoints.reader import container

from .context import Context, flatten
from .provenance import canonical_config, read_record, versions
from .recipe import total_batch
from .saving import INTERRUPTED, LAST_CHECKPOINT, last_checkpoint

_SAVED_STATE = re.compile(r'(iter|epoch)_\d+\.pth')
# Initial weights are not compared: a resumed checkpoint holds all weights itself.
_NOT_COMPARED = re.compile(r'checkpoint$|model\.backbone\.init_cfg(\.|$)|model\.pretrained$')
_LONGEST_LIST = 20


def apply_resume(config: Config, context: Context) -> List[str]:
    """Sets the checkpoint to resume from in a config, if ``resume`` asks for it, and the seed of the first launch.

    Without ``load_from`` it takes the checkpoint that ``last_checkpoint`` names. If that is gone or damaged, it takes
    the newest other checkpoint and remarks on it: a requeued job should go on, and only time is lost, since the
    iterations in between give the same result again. For a file that the user named there is no such replacement.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        CheckpointError: The named checkpoint cannot be read, or no checkpoint can.
    """
    if not config.get('resume'):
        return []
    named = config.resume if isinstance(config.resume, str) else config.get('load_from')
    config.resume, config.load_from = True, None
    if named:
        checkpoint, remarks = named, []
        problem = _problem(Path(named))
        if problem:
            raise _refusal(f'checkpoint {named}, to resume from, {problem}', Path(named))
    else:
        checkpoint, remarks = _newest(Path(config.work_dir))
        if checkpoint is None:
            return [f'Nothing to resume in {config.work_dir}: starting anew.']
    # As a path, so that every process takes the same file.
    config.load_from = context.resumed = str(checkpoint)
    if config.model.get('backbone'):
        config.model.backbone.init_cfg = None  # the checkpoint holds the backbone
    remarks.append(f'Resuming from {checkpoint}.')
    launch = _last_launch(checkpoint)
    if launch is None:
        return [*remarks, f'No provenance.json beside {checkpoint}: what has changed since is not known.']
    context.validated = (launch['finished'] or {}).get('iteration')
    return remarks + _keep_seed(config, launch)


def _last_launch(checkpoint: str) -> Optional[dict]:
    record = read_record(Path(checkpoint).parent)
    if not record or not record['launches']:
        return None
    launch = record['launches'][-1]
    return {**launch, 'settings': record['configs'][launch['config']]}


def _newest(work_dir: Path) -> tuple:
    """Returns the checkpoint to resume from, or None, and remarks."""
    if not (work_dir / LAST_CHECKPOINT).exists():
        return None, []
    named = last_checkpoint(work_dir)
    problem = _problem(Path(named)) if named else 'is not named: the file is empty or no text'
    if not problem:
        return named, []
    what = f'{work_dir / LAST_CHECKPOINT} names {named}, which {problem}' if named else \
        f'{work_dir / LAST_CHECKPOINT} is empty or no text'
    other = _other_checkpoint(work_dir, Path(named) if named else None)
    if other is None:
        raise CheckpointError(f'{what}, and no other checkpoint in {work_dir} can be read; give one with --resume '
                              f'FILE, or delete {work_dir / LAST_CHECKPOINT} to start anew')
    return str(other), [f'WARNING: {what}. Falling back to {other}; what came after it is trained again.']


def _problem(path: Path) -> Optional[str]:
    """Returns why a checkpoint cannot be read, judged by its beginning and end; None if it can."""
    if not path.is_file():
        return 'does not exist'
    try:
        container(path)
    except CheckpointError as error:
        return str(error).replace(f'{path} ', '', 1)
    except OSError as error:
        return f'cannot be read ({error.strerror or error})'
    return None


def _other_checkpoint(folder: Path, damaged: Optional[Path]) -> Optional[Path]:
    """Returns the newest checkpoint of a training that can be read, or None."""
    folders = {folder, damaged.parent} if damaged else {folder}
    found = [path for place in folders if place.is_dir() for path in place.iterdir()
             if path != damaged and (_SAVED_STATE.fullmatch(path.name) or path.name == INTERRUPTED)]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return next((path for path in found if not _problem(path)), None)


def _refusal(message: str, checkpoint: Path) -> Exception:
    other = _other_checkpoint(checkpoint.parent, checkpoint)
    advice = f'the newest other one is {other}: --resume {other}' if other else 'give another with --resume FILE'
    return (CheckpointError if checkpoint.is_file() else FileNotFoundError)(f'{message}; {advice}')


def _keep_seed(config: Config, launch: dict) -> List[str]:
    """Keeps the seed of the run's first launch, because the order of the images depends on it."""
    seed, asked = launch.get('seed'), (config.get('randomness') or {}).get('seed')
    if seed is None or seed == asked:
        return []
    config.merge_from_dict({'randomness.seed': seed})
    return [] if asked is None else [f'Changed since: randomness.seed {seed} -> {asked}; going on with {seed}.']


def tell_changes(config: Config, context: Context) -> List[str]:
    """Lists the differences from the last launch of the resumed training, one remark each."""
    launch = _last_launch(context.resumed) if context.resumed else None
    if launch is None:
        return []
    processes = context.processes
    old, new = flatten(launch['settings']), flatten(canonical_config(config))
    changed = [(key, old.get(key), new.get(key)) for key in sorted({*old, *new})
               if old.get(key) != new.get(key) and not _NOT_COMPARED.match(key)]
    batch = [('processes', launch['processes'], processes),
             ('total batch', launch['total_batch'], total_batch(config, processes))]
    installed = versions()
    software = [(name, version, installed.get(name)) for name, version in launch['versions'].items()]
    told = [f'Changed since: {name} {_short(before)} -> {_short(after)}.'
            for name, before, after in [*batch, *changed[:_LONGEST_LIST], *software] if before != after]
    if len(changed) > _LONGEST_LIST:
        told.append(f'Changed since: {len(changed) - _LONGEST_LIST} more entries of the config.')
    if any(before != after for _, before, after in batch):
        told.append('Iterations keep their numbers, so from here on the images come in another order than without the '
                    'change.')
    if any(key.startswith(('optim_wrapper.optimizer', 'param_scheduler')) for key, _, _ in changed):
        told.append('The checkpoint brings its optimizer and schedulers: rates, decay and the length of the schedule '
                    'stay as saved.')
    return told


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
