"""Finds the checkpoint that ``--resume`` continues from, and reports what has changed since it was saved."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import List, Optional

from mmengine.config import Config

from mmlocat.checkpoints.errors import CheckpointError
from mmlocat.checkpoints.reader import container, read_checkpoint
from mmlocat.utils.machine import versions

from .context import Context, flatten
from .hardware import total_batch
from .provenance import canonical_config, read_record
from .saving import LAST_CHECKPOINT, last_checkpoint

_SAVED_STATE = re.compile(r'((iter|epoch)_\d+|interrupted)\.pth')
# Initial weights are not compared: a resumed checkpoint holds all weights itself.
_NOT_COMPARED = re.compile(r'checkpoint$|randomness$|model\.backbone\.init_cfg(\.|$)|model\.pretrained$')


def apply_resume(config: Config, context: Context) -> List[str]:
    """Sets the checkpoint to resume from in a config, if ``resume`` asks for it, and the seed of the first launch.

    Without ``load_from`` it takes the checkpoint that ``last_checkpoint`` names. If that is gone or damaged, it takes
    the newest other checkpoint and remarks on it: a requeued job should go on, and only time is lost, since the
    iterations in between give the same result again. For a file that the user named there is no such replacement.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        CheckpointError: The named checkpoint cannot be read, or has no optimizer; or no checkpoint can be read.
    """
    if not config.get('resume'):
        return []
    named = config.resume if isinstance(config.resume, str) else config.get('load_from')
    config.resume, config.load_from = True, None
    remarks: List[str] = []
    problem = _problem(Path(named)) if named else None
    if problem:
        raise (CheckpointError if Path(named).is_file() else FileNotFoundError)(
            f'checkpoint {named}, to resume from, {problem}; give another with --resume FILE')
    checkpoint = named or _newest(Path(config.work_dir), remarks)
    if checkpoint is None:
        return [f'Nothing to resume in {config.work_dir}: starting anew.']
    # As a path, so that every process takes the same file.
    config.load_from = context.resumed = str(checkpoint)
    if config.model.get('backbone'):
        config.model.backbone.init_cfg = None  # the checkpoint holds the backbone
    remarks.append(f'Resuming from {checkpoint}.')
    remarks += _look_for_optimizer(context, bool(named))
    launch = _last_launch(checkpoint)
    if launch is None:
        return [*remarks, f'No provenance.json beside {checkpoint}: what has changed since is not known.']
    # The seed stays that of the first launch, because the order of the images depends on it.
    seed, asked = launch['seed'], (config.get('randomness') or {}).get('seed')
    config.merge_from_dict({'randomness.seed': seed})
    if asked not in (None, seed):
        remarks.append(f'Changed since: randomness.seed {seed} -> {asked}; going on with {seed}.')
    return remarks


def _look_for_optimizer(context: Context, named: bool) -> List[str]:
    """Refuses a named checkpoint of weights alone, such as ``best_*.pth``, and remarks on another one.

    MMEngine (0.10) would go on without a word, with a new optimizer and the learning rates of the first iterations.
    """
    checkpoint = context.resumed
    if 'optimizer' in read_checkpoint(checkpoint, trust_pickle=context.options['trust_pickle']).whole:
        return []
    problem = f'{checkpoint} holds weights without the state of the optimizer'
    if named:
        last = last_checkpoint(Path(checkpoint).parent)
        raise CheckpointError(f'{problem}, so that a training cannot go on from it: '
                              + (f'give --resume {last}, or ' if last not in (None, checkpoint) else '')
                              + f'begin a new one from its weights with --cfg-options load_from={checkpoint}')
    return [f'WARNING: {problem}, which begins anew, and so do the learning rates; default_hooks.checkpoint.'
            'save_optimizer=True saves it.']


def _newest(work_dir: Path, remarks: List[str]) -> Optional[str]:
    """Returns the checkpoint that ``last_checkpoint`` names, else the newest that can be read; None without a run."""
    if not (work_dir / LAST_CHECKPOINT).exists():
        return None
    named = last_checkpoint(work_dir)
    problem = _problem(Path(named)) if named else None
    if named and not problem:
        return named
    what = f'{work_dir / LAST_CHECKPOINT} ' + (f'names {named}, which {problem}' if named else 'is empty or no text')
    folders = {work_dir, Path(named).parent if named else work_dir}  # a work dir that was moved still names the old one
    saved = [path for folder in folders for path in folder.glob('*.pth')
             if _SAVED_STATE.fullmatch(path.name) and not _problem(path)]
    if not saved:
        raise CheckpointError(f'{what}, and no other checkpoint in {work_dir} can be read; give one with --resume '
                              f'FILE, or delete {work_dir / LAST_CHECKPOINT} to start anew')
    other = max(saved, key=lambda path: path.stat().st_mtime)
    remarks.append(f'WARNING: {what}. Falling back to {other}; what came after it is trained again.')
    return str(other)


def _problem(path: Path) -> Optional[str]:
    """Returns why a checkpoint cannot be read, judged by its beginning and end; None if it can."""
    if not path.is_file():
        return 'does not exist'
    try:
        container(path)
    except CheckpointError as error:
        return str(error).replace(f'{path} ', '', 1)
    return None


def _last_launch(checkpoint: str) -> Optional[dict]:
    record = read_record(Path(checkpoint).parent)
    if not record or not record['launches']:
        return None
    launch = record['launches'][-1]
    return {**launch, 'settings': record['configs'][launch['config']]}


def tell_changes(config: Config, context: Context) -> List[str]:
    """Lists the differences from the last launch of the resumed training, one remark each."""
    launch = _last_launch(context.resumed) if context.resumed else None
    if launch is None:
        return []
    processes, installed = context.processes, versions()
    old, new = flatten(launch['settings']), flatten(canonical_config(config))
    changes = [('processes', launch['processes'], processes),
               ('total batch', launch['total_batch'], total_batch(config, processes)),
               *((key, old.get(key), new.get(key)) for key in sorted({*old, *new}) if not _NOT_COMPARED.match(key)),
               *((name, version, installed[name]) for name, version in launch['versions'].items() if name in installed)]
    told = [f'Changed since: {name} {json.dumps(before)} -> {json.dumps(after)}.'
            for name, before, after in changes if before != after]
    if any(before != after for _, before, after in changes[:2]):
        told.append('Iterations keep their numbers, so the images come in another order than without the change.')
    if any(': optim_wrapper.optimizer' in line or ': param_scheduler' in line for line in told):
        told.append('The checkpoint brings its optimizer and schedulers: rates, decay and the length of the schedule '
                    'stay as saved.')
    return told
