"""Turns a suite into commands: for every row and seed a training, a test of its last or best checkpoint, or both."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from mmengine.config import Config

from mmlocat import __version__
from mmlocat.config import load_config
from mmlocat.datasets.digit_scenes import DigitScenesSpec
from mmlocat.datasets.stamp_scenes import StampScenesSpec
from mmlocat.training.provenance import FILE as RECORD
from mmlocat.training.provenance import canonical_config
from mmlocat.utils import sha256, share_folder

from .queue import Job
from .rows import Suite, SuiteRow


@dataclass(frozen=True)
class Trial:
    """A row with one seed: its config, options merged, its jobs, and the trial whose result it starts from.

    A config without training data, such as those of k-NN, is tested alone, with the checkpoint that its row names; one
    without test data, such as those of DINO, is trained alone.
    """

    row: SuiteRow
    seed: int
    config: Config
    train: Optional[Job]
    test: Optional[Job]
    parent: Optional[Trial] = None

    @property
    def jobs(self) -> List[Job]:
        """Its training and its test, as far as it has them."""
        return [job for job in (self.train, self.test) if job is not None]


def plan_suite(suite: Suite, work_dir: Path, gpus: int = 1, partition: Optional[str] = None) -> List[Trial]:
    """Writes down every command of a suite.

    Args:
        suite: From ``load_suite``.
        work_dir: Root of all work dirs: seedN/ROW of trainings and seedN/ROW_test of tests.
        gpus: Processes of every training and test whose row states none; the total batch stays the recipe's.
        partition: Of Slurm; None runs on this machine.

    Returns:
        A trial for every row and seed: first seeds first, each after the one it starts from.

    Raises:
        FileNotFoundError: A row's config does not exist.
        ValueError: Options do not fit a config, the total batch cannot be shared out evenly, or a row that only tests
            names no checkpoint, or is named as one.
    """
    trials: Dict[Tuple[str, int], Trial] = {}
    for row in suite.rows:
        try:
            config = load_config(str(row.config), row.options)
            if row.share:
                row = _shortened(row, config)
                config = load_config(str(row.config), row.options)
        except (OSError, ValueError) as error:
            raise type(error)(f'row {row.name}: {error}') from error
        for seed in row.seeds:
            parent = None
            if row.parent:
                seeds = suite.row(row.parent).seeds
                parent = trials[row.parent, seed if seed in seeds else seeds[0]]
            trials[row.name, seed] = _trial(row, seed, config, work_dir, gpus, partition, parent)

    def first_seed(trial: Trial) -> int:
        return first_seed(trial.parent) if trial.parent else trial.seed

    places = {row.name: number for number, row in enumerate(suite.rows)}
    return sorted(trials.values(), key=lambda trial: (first_seed(trial), places[trial.row.name], trial.seed))


def _trial(row: SuiteRow, seed: int, config: Config, work_dir: Path, gpus: int, partition: Optional[str],
           parent: Optional[Trial]) -> Trial:
    gpus = row.processes or gpus
    if parent and parent.train is None:
        raise ValueError(f'row {row.name}: checkpoint names {parent.row.name}, which trains nothing; name the row that '
                         'it tests')
    checkpoint = str(parent.train.folder / parent.train.product) if parent else row.checkpoint
    options = [f'{key}={value}'.replace(' ', '') for key, value in row.options.items()]
    fingerprint, of_test, earlier = _fingerprints(row, seed, config, parent)
    name, slurm_name, lanes = f'{row.name}, seed {seed}', f'{row.name.replace("/", "-")}-{seed}', row.processes or 1
    folder, train, test, after = work_dir / f'seed{seed}' / row.name, None, None, parent.train if parent else None
    if config.get('train_dataloader'):
        length = config.train_cfg.get('max_iters')
        product = f'iter_{length}.pth' if length else f'epoch_{config.train_cfg.max_epochs}.pth'
        # A config with this variable gives the weights to its backbone alone; another goes on with the whole model.
        start = 'checkpoint' if 'checkpoint' in config else 'load_from'
        more_options = _batch(row, config, gpus) + ([f'{start}={checkpoint}'] if checkpoint else [])
        train = after = Job(
            f'{name}: train', folder,
            _command(slurm_name, 'train', gpus, partition, [row.config], [
                '--work-dir', folder, *row.train_args, '--cfg-options', f'randomness.seed={seed}', *options,
                *more_options]),
            product, fingerprint, after, resumable=True, lanes=lanes, earlier=earlier)
        best = ((config.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best')
        tested = str(folder / ('best_*.pth' if best else product))
    elif checkpoint:
        tested = checkpoint
    else:
        raise ValueError(f'row {row.name}: its config only tests; give it a checkpoint: an earlier row, a file or an '
                         'address')
    if config.get('test_dataloader'):
        test_folder = folder.with_name(f'{folder.name}_test')
        test = Job(
            f'{name}: test', test_folder,
            _command(f'{slurm_name}-test', 'test', gpus, partition, [row.config, tested], [
                '--work-dir', test_folder, *(['--cfg-options', *options] if options else [])]),
            RECORD, of_test, after, lanes=lanes, earlier=_digest([f'{earlier} test']))
    return Trial(row, seed, config, train, test, parent)


def _shortened(row: SuiteRow, config: Config) -> SuiteRow:
    """Returns a row with the options that train it for its share of the config's iterations, and its rates with it."""
    schedules, iterations = config.get('param_scheduler') or [], (config.get('train_cfg') or {}).get('max_iters')
    if not iterations or any(schedule.get('by_epoch', True) for schedule in schedules):
        raise ValueError(f'share={row.share} does not fit {row.config.name}, which counts epochs: it shortens a config '
                         'with max_iters and schedules of by_epoch=False; state the length in cfg-options instead')
    options = {'train_cfg.max_iters': max(1, round(row.share * iterations))}
    for number, schedule in enumerate(schedules):
        for key in ('begin', 'end', 'T_max', 'total_steps'):
            if schedule.get(key):
                options[f'param_scheduler.{number}.{key}'] = round(row.share * schedule[key])
    return replace(row, options={**row.options, **options})


def _command(job: str, tool: str, gpus: int, partition: Optional[str], positional: Sequence, rest: Sequence
             ) -> List[str]:
    """Returns the command line of a training or test: this process, several by torchrun, or a job of Slurm."""
    tools = share_folder() / 'tools'
    # Threads that suit this process would be too many for each of several.
    environment = ['env', '-u', 'OMP_NUM_THREADS']
    if partition:
        srun = f'{os.environ.get("SRUN_ARGS", "")} --quit-on-interrupt'.strip()
        command = [*environment, f'GPUS={gpus}', f'SRUN_ARGS={srun}', 'bash', tools / f'slurm_{tool}.sh', partition,
                   job, *positional, *rest]
    elif gpus > 1:
        command = [*environment, 'bash', tools / f'dist_{tool}.sh', *positional, gpus, *rest]
    else:
        command = [sys.executable, tools / f'{tool}.py', *positional, *rest]
    return [str(part) for part in command]


def _batch(row: SuiteRow, config: Config, gpus: int) -> List[str]:
    """Returns the option that keeps the recipe's total batch on so many GPUs; none where it is so already."""
    total = (config.get('auto_scale_lr') or {}).get('base_batch_size')
    if total is None or 'train_dataloader.batch_size' in row.options:
        return []
    steps = (config.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    batch, rest = divmod(total, gpus * steps)
    if rest or not batch:
        raise ValueError(f'row {row.name}: the total batch of {total} cannot be shared out evenly among {gpus} GPUs'
                         + (f' and {steps} accumulated steps' if steps > 1 else '') + '; choose --gpus so that it can')
    return [] if batch == config.train_dataloader.batch_size else [f'train_dataloader.batch_size={batch}']


def _fingerprints(row: SuiteRow, seed: int, config: Config, parent: Optional[Trial]) -> Tuple[str, str, str]:
    """Hashes what results depend on; not where files lie, nor how many processes the user lets share the batch.

    Returns:
        Of the training, which no part of the test is in, nor the metric of a validation that chooses no checkpoint; of
        the test; and of the training with all of its config, as it was before: what is done by that stays done.
    """
    settings = canonical_config(config)
    whole = json.dumps(settings, sort_keys=True)
    test = json.dumps([settings.pop(key, None) for key in ('test_dataloader', 'test_cfg', 'test_evaluator')],
                      sort_keys=True)
    if not ((settings.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best'):
        settings.pop('val_evaluator', None)

    def fingerprint(text: str, origin: str) -> str:
        parts = [__version__, row.config.name, str(seed), text, origin, *row.train_args]
        if row.processes:
            parts.append(f'{row.processes} processes')
        return _digest([*parts, *(json.dumps(spec.describe()) for spec in (DigitScenesSpec(), StampScenesSpec())
                                  if spec.NAME in whole)])

    origin = row.checkpoint or ''
    if origin and Path(origin).is_file():
        origin = sha256(origin)
    train = fingerprint(json.dumps(settings, sort_keys=True), parent.train.fingerprint if parent else origin)
    return train, _digest([train, test]), fingerprint(whole, parent.train.earlier if parent else origin)


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()
