"""Reads records from work dirs, joins every test with its training and initial weights, and says what deviates."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple, Union

from mmlocat.config import load_config
from mmlocat.training.initial_weights import initial_checkpoint
from mmlocat.training.provenance import FILE, canonical_config, read_record
from mmlocat.utils import share_folder

from .names import Leaf, metric, parse

# What decides a result. The other keys are names that a config gives its parts, and settings of log and machine.
_TRAINING_KEYS = ('model', 'data_preprocessor', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler',
                  'custom_hooks', 'default_hooks', 'runner_type', 'randomness')
_TEST_KEYS = ('model', 'data_preprocessor', 'test_dataloader', 'test_cfg', 'test_evaluator')
# Paths, logs, speed, and what has a rule of its own below: initial weights, total batch.
_IGNORED = re.compile('|'.join(fnmatch.translate(pattern) for pattern in (
    '*data_root', '*data_prefix*', '*ann_file', '*.num_workers', '*.persistent_workers', '*.pin_memory',
    '*.prefetch_factor', '*_dataloader.batch_size', 'test_evaluator*.output_dir', 'train_cfg.val_interval',
    'train_cfg.val_begin', 'train_cfg.dynamic_intervals*', 'optim_wrapper.accumulative_counts',
    'default_hooks.logger*', 'default_hooks.timer*', 'default_hooks.checkpoint*', 'default_hooks.visualization*',
    'randomness.deterministic', 'model.backbone.init_cfg*', 'model.pretrained', 'model.backbone.attention_backend',
    'model.backbone.with_cp')))
_SYNC_BN = ('SyncBN', 'MMSyncBN', 'mmcv.SyncBN')


@dataclass
class Training:
    """A training that was recorded, with its work dir."""

    leaf: Leaf
    folder: Path
    launches: List[dict]
    config: dict  # the canonical one of the first launch
    deviations: List[str]  # from its own recipe, initial weights not traced


@dataclass
class Run:
    """One measured number: a test, with the training behind it."""

    leaf: Leaf  # the config tested
    folder: Path  # the work dir of the test
    test: dict  # its record
    config: dict  # the canonical one of the test
    training: Optional[Training] = None  # None where none of the work dirs holds it
    pretraining: Optional[Training] = None  # whose result the backbone started from; None where none was or is known
    deviations: List[str] = field(default_factory=list)  # why the number is not the recipe's

    @property
    def value(self) -> Optional[float]:
        """The leaf's metric, in percent; None if the test did not measure it."""
        return self.test['metrics'].get(metric(self.leaf.head)[0])

    @property
    def seed(self) -> Optional[int]:
        """Of the training."""
        return self.training.launches[0]['seed'] if self.training else None


def gather(work_dirs: Iterable[Union[str, Path]]) -> List[Run]:
    """Gathers every tested checkpoint below some folders.

    A checkpoint that was tested several times in the same way counts once, by its last test.

    Args:
        work_dirs: Folders; records are looked for at any depth.

    Raises:
        FileNotFoundError: A folder does not exist, or there is no record in any.
        ValueError: A record cannot be read.
    """
    work_dirs = [Path(folder) for folder in work_dirs]
    for folder in work_dirs:
        if not folder.is_dir():
            raise FileNotFoundError(f'work dir {folder} does not exist; give the folders that tools/train.py and '
                                    'tools/test.py wrote to, or one above them')
    files = sorted({path.resolve() for folder in work_dirs for path in folder.rglob(FILE)})
    if not files:
        raise FileNotFoundError(f'no {FILE} below {", ".join(map(str, work_dirs))}: test a checkpoint with '
                                'tools/test.py, which writes it')
    records = {path.parent: read_record(path.parent) for path in files}
    by_result: Dict[str, Training] = {}
    for folder, record in records.items():
        finished = record['launches'][-1]['finished'] if record['launches'] else None
        if finished and finished['checkpoint']:
            launches, configs = record['launches'], record['configs']
            training = Training(parse(launches[0]['leaf']), folder, launches, configs[launches[0]['config']],
                                _training_deviations(launches, configs))
            for result in (finished.get('best') or finished['checkpoint'], finished['checkpoint']):
                by_result[result['sha256']] = training
    by_result.pop(None, None)  # of checkpoints that are no files
    runs: Dict[tuple, Run] = {}
    for folder, record in records.items():
        for test in record['tests']:
            run = _run(folder, test, record['configs'], by_result)
            key = (run.leaf.name, test['checkpoint']['sha256'] or test['checkpoint']['source'], test['tta'],
                   tuple(run.deviations))
            if key not in runs or runs[key].test['date'] <= test['date']:
                runs[key] = run
    return list(runs.values())


def _run(folder: Path, test: dict, configs: Dict[str, dict], by_result: Dict[str, Training]) -> Run:
    run = Run(parse(test['leaf']), folder, test, configs[test['config']], by_result.get(test['checkpoint']['sha256']))
    found = _test_deviations(test, configs)
    if run.training is None and not _is_published(run):
        found.append('no finished training in these work dirs ends with this checkpoint')
    elif run.training is not None:
        found += run.training.deviations
        if run.training.leaf.name != _trained_by(run.leaf):
            found.append(f'trained with {run.training.leaf.name}.py')
        found += _which_epoch(run)
        found += _trace(run, by_result)
    run.deviations = list(dict.fromkeys(found))
    return run


def _trained_by(leaf: Leaf) -> Optional[str]:
    """Returns the leaf whose training makes what a leaf tests: itself, or its pretraining if it only tests."""
    shipped = recipe(leaf.name)[0]
    return leaf.name if shipped is None or shipped.get('train_dataloader') else leaf.pretraining


def _which_epoch(run: Run) -> List[str]:
    """Says so if the tested epoch is not the recipe's: the last one, or the best one where its config keeps that."""
    finished, shipped = run.training.launches[-1]['finished'], recipe(run.training.leaf.name)[0] or {}
    keeps_best = ((shipped.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best')
    wanted = (finished.get('best') if keeps_best else None) or finished['checkpoint']
    if run.test['checkpoint']['sha256'] == wanted['sha256'] or run.training.leaf.name != run.leaf.name:
        return []
    return ['tests its last epoch instead of its best' if keeps_best else 'tests its best epoch instead of its last']


def _trace(run: Run, by_result: Dict[str, Training]) -> List[str]:
    """Finds the training behind the initial weights; says what is wrong with them."""
    leaf = run.leaf if _trained_by(run.leaf) == run.leaf.name else run.training.leaf  # of k-NN: the pretraining
    initial, wanted = run.training.launches[0]['initial_checkpoint'], leaf.pretraining
    if initial is None or initial['source'] == recipe(leaf.name)[1]:
        return []
    run.pretraining = by_result.get(initial['sha256'])
    if run.pretraining is None:
        return [f'starts from {initial["source"]}, which no training in these work dirs ends with']
    found = [f'pretraining: {text}' for text in run.pretraining.deviations]
    if run.pretraining.leaf.name != wanted:
        instead = f'{wanted}.py' if wanted else 'from scratch'
        found.insert(0, f'starts from the result of {run.pretraining.leaf.name}.py instead of {instead}')
    return found


@lru_cache(maxsize=None)
def recipe(name: str) -> Tuple[Optional[Dict[str, Any]], Optional[str]]:
    """Returns the canonical config of a shipped leaf, and the initial weights that it names, each None if none."""
    path = share_folder() / 'configs' / f'{name}.py'
    if not path.is_file():
        return None, None
    config = load_config(str(path))
    return canonical_config(config), initial_checkpoint(config)


def _flatten(node: Any, prefix: str = '') -> Iterator[Tuple[str, Any]]:
    """Yields dotted keys and plain values of nested dicts and lists; empty ones are values."""
    entries = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ())
    if not entries:
        yield prefix, node
    for key, value in entries:
        yield from _flatten(value, f'{prefix}.{key}' if prefix else str(key))


def _changes(used: Dict[str, Any], shipped: Dict[str, Any], keys: Tuple[str, ...], processes: int) -> List[str]:
    """Lists what differs between two canonical configs, of the top-level keys that count.

    One text a difference, such as 'optim_wrapper.optimizer.lr = 0.01 (recipe: 0.001)'. In one process SyncBN is BN.
    """
    sides = []
    for settings in (used, shipped):
        flat = dict(_flatten({key: settings[key] for key in keys if settings.get(key) not in (None, {}, [])}))
        sides.append({
            key: 'BN' if processes == 1 and value in _SYNC_BN else value
            for key, value in flat.items() if not _IGNORED.match(key)
        })
    values = {key: [side.get(key, '(none)') for side in sides] for key in sorted({*sides[0], *sides[1]})}
    return [f'{key} = {own} (recipe: {expected})' for key, (own, expected) in values.items() if own != expected]


def _training_deviations(launches: List[dict], configs: Dict[str, dict]) -> List[str]:
    """Lists why a training is not the recipe of its leaf, from its record.

    ``_trace`` judges where the initial weights come from, except that a frozen backbone must have some, and that a leaf
    that names some starts from those.
    """
    names = list(dict.fromkeys(launch['leaf'] for launch in launches))
    shipped, weights = recipe(names[0])
    if shipped is None:
        return [f'mmlocat ships no config {names[0]}.py']
    found: List[str] = []
    for launch in launches:
        found += _changes(configs[launch['config']], shipped, _TRAINING_KEYS, launch['processes'])
        expected = (shipped.get('auto_scale_lr') or {}).get('base_batch_size')
        if expected is not None and launch['total_batch'] != expected:
            found.append(f'total batch {launch["total_batch"]} instead of {expected}')
    if len({launch['seed'] for launch in launches}) > 1:
        found.append('resumed with another seed')
    if len(names) > 1:
        found.append(f'resumed with another config: {", then ".join(names)}')
    first = launches[0]
    initial = first['initial_checkpoint']
    backbone = (configs[first['config']].get('model') or {}).get('backbone') or {}
    if first['resumed_from']:
        found.append(f'what came before {first["resumed_from"]["source"]} is not recorded')
    elif initial is None and (backbone.get('frozen_stages') or -1) > 0:
        found.append('the frozen backbone is random')
    elif initial is None and (weights is not None or parse(names[0]).pretraining):
        found.append(f'starts from random weights instead of {weights or "pretrained ones"}')
    elif weights is not None and initial['source'] != weights:
        found.append(f'starts from {initial["source"]} instead of {weights}')
    return list(dict.fromkeys(found))


def _test_deviations(test: dict, configs: Dict[str, dict]) -> List[str]:
    """Lists why a test, an entry of a record's tests, is not the one of its leaf; ``configs`` are the record's."""
    shipped, _ = recipe(test['leaf'])
    if shipped is None:
        return [f'mmlocat ships no config {test["leaf"]}.py']
    if test['tta']:
        return ['test-time augmentation']
    return _changes(configs[test['config']], shipped, _TEST_KEYS, processes=1)


def _is_published(run: Run) -> bool:
    """Says whether a leaf that only tests was given the weights that are published for its arch.

    They are those that a leaf with the frozen backbone of this arch names.
    """
    shipped, weights = recipe(run.leaf.name)[0], recipe(f'{run.leaf.arch}_linear_ade20k')[1]
    only_tests = shipped is not None and not shipped.get('train_dataloader')
    return only_tests and weights is not None and run.test['checkpoint']['source'] == weights
