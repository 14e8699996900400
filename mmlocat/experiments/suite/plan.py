"""Turns a suite into commands: for every row and seed a training and a test of its last checkpoint."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from mmengine.config import Config, DictAction

from mmlocat import __version__
from mmlocat.config import load_config
from mmlocat.datasets.digit_scenes import DigitScenesSpec
from mmlocat.training.provenance import FILE as RECORD
from mmlocat.training.provenance import canonical_config
from mmlocat.utils import sha256, share_folder

from .cost import TrainingCost, estimate
from .queue import Job
from .rows import Suite, SuiteRow

_UNKNOWN_WORK = 1e15  # FLOPs, for the progress bar, of a training on data of unknown size


@dataclass(frozen=True)
class Launcher:
    """How the commands start processes.

    Args:
        gpus: Processes of every training and test whose row states none; the total batch stays the recipe's.
        partition: Of Slurm; None runs on this machine.
    """

    gpus: int = 1
    partition: Optional[str] = None

    def command(self, job: str, tool: str, config: Path, arguments: Sequence[str]) -> List[str]:
        """Returns a command line.

        Args:
            job: The job's name.
            tool: 'train' or 'test'.
            config: The config.
            arguments: What follows the config, the checkpoint of a test first.
        """
        tools = share_folder() / 'tools'
        positional = [str(config), *(arguments[:1] if tool == 'test' else [])]
        rest = list(arguments[len(positional) - 1:])
        # Threads that suit this process would be too many for each of several.
        environment = ['env', '-u', 'OMP_NUM_THREADS']
        if self.partition:
            srun = f'{os.environ.get("SRUN_ARGS", "")} --quit-on-interrupt'.strip()
            return [*environment, f'GPUS={self.gpus}', f'SRUN_ARGS={srun}', 'bash', str(tools / f'slurm_{tool}.sh'),
                    self.partition, job, *positional, *rest]
        if self.gpus > 1:
            return [*environment, 'bash', str(tools / f'dist_{tool}.sh'), *positional, str(self.gpus), *rest]
        return [sys.executable, str(tools / f'{tool}.py'), *positional, *rest]


@dataclass(frozen=True)
class Trial:
    """A row with one seed.

    Args:
        row: The row.
        seed: The seed.
        config: With the row's options merged.
        train: Its training.
        test: Its test.
        cost: Of the training.
        parent: The trial whose result it starts from, or None.
    """

    row: SuiteRow
    seed: int
    config: Config
    train: Job
    test: Job
    cost: TrainingCost
    parent: Optional[Trial] = None


def plan_suite(suite: Suite, work_dir: Path, launcher: Launcher = Launcher(), tflops: Optional[float] = None
               ) -> List[Trial]:
    """Writes down every command of a suite.

    Args:
        suite: From ``load_suite``.
        work_dir: Root of all work dirs: seedN/ROW of trainings and seedN/ROW_test of tests.
        launcher: How processes start.
        tflops: See ``estimate``.

    Returns:
        A trial for every row and seed: first seeds first, each after the one it starts from.

    Raises:
        ValueError: Options do not fit a config, or the total batch cannot be shared out evenly.
    """
    trials: Dict[Tuple[str, int], Trial] = {}
    for row in suite.rows:
        config = _merged(row)
        own = launcher if row.processes is None else replace(launcher, gpus=row.processes)
        cost = estimate(config, own.gpus, work_dir, row.name, tflops)
        for seed in row.seeds:
            parent = trials[_parent(suite, row, seed)] if row.parent else None
            trials[row.name, seed] = _trial(row, seed, config, work_dir, own, parent, cost)
    places = {row.name: number for number, row in enumerate(suite.rows)}
    return sorted(trials.values(), key=lambda trial: (_first_seed(trial), places[trial.row.name], trial.seed))


def _first_seed(trial: Trial) -> int:
    return _first_seed(trial.parent) if trial.parent else trial.seed


def _parent(suite: Suite, row: SuiteRow, seed: int) -> Tuple[str, int]:
    seeds = suite.row(row.parent).seeds
    return row.parent, seed if seed in seeds else seeds[0]


def _merged(row: SuiteRow) -> Config:
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    options = parser.parse_args(['--cfg-options', *row.options]).cfg_options if row.options else None
    try:
        return load_config(str(row.config), options)
    except ValueError as error:
        raise ValueError(f'row {row.name}: {error}') from error


def _trial(row: SuiteRow, seed: int, config: Config, work_dir: Path, launcher: Launcher, parent: Optional[Trial],
           cost: TrainingCost) -> Trial:
    folder = work_dir / f'seed{seed}' / row.name
    test_folder = folder.with_name(f'{folder.name}_test')
    name = f'{row.name}, seed {seed}'
    length = config.train_cfg.get('max_iters')
    product = f'iter_{length}.pth' if length else f'epoch_{config.train_cfg.max_epochs}.pth'
    checkpoint = str(parent.train.folder / parent.train.product) if parent else row.checkpoint
    options = [f'randomness.seed={seed}', *row.options, *_batch(row, config, launcher.gpus)]
    if checkpoint:
        options.append(f'checkpoint={checkpoint}')
    fingerprint = _fingerprint(row, seed, config, parent)
    slurm_name = f'{row.name.replace("/", "-")}-{seed}'
    work = cost.flops or _UNKNOWN_WORK
    lanes = row.processes or 1
    train = Job(
        f'{name}: train', folder,
        launcher.command(slurm_name, 'train', row.config, [
            '--work-dir', str(folder), *row.train_args, '--cfg-options', *options]),
        product, fingerprint, work, parent.train if parent else None, resumable=True, lanes=lanes)
    test = Job(
        f'{name}: test', test_folder,
        launcher.command(f'{slurm_name}-test', 'test', row.config, [
            str(folder / product), '--work-dir', str(test_folder),
            *(['--cfg-options', *row.options] if row.options else [])]),
        RECORD, hashlib.sha256(f'{fingerprint} test'.encode()).hexdigest(), work / 50, train, lanes=lanes)
    return Trial(row, seed, config, train, test, cost, parent)


def _batch(row: SuiteRow, config: Config, gpus: int) -> List[str]:
    """Returns the option that keeps the recipe's total batch on so many GPUs; none where it is so already."""
    total = (config.get('auto_scale_lr') or {}).get('base_batch_size')
    if total is None or any(option.startswith('train_dataloader.batch_size=') for option in row.options):
        return []
    steps = (config.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    batch, rest = divmod(total, gpus * steps)
    if rest or not batch:
        raise ValueError(f'row {row.name}: the total batch of {total} cannot be shared out evenly among {gpus} GPUs'
                         + (f' and {steps} accumulated steps' if steps > 1 else '') + '; choose --gpus so that it can')
    return [] if batch == config.train_dataloader.batch_size else [f'train_dataloader.batch_size={batch}']


def _fingerprint(row: SuiteRow, seed: int, config: Config, parent: Optional[Trial]) -> str:
    """Hashes what the result depends on; not where files lie, nor how many processes the user lets share the batch."""
    text = json.dumps(canonical_config(config), sort_keys=True)
    origin = parent.train.fingerprint if parent else row.checkpoint or ''
    if origin and Path(origin).is_file():
        origin = _content(origin)
    parts = [__version__, row.config.name, str(seed), text, origin, *row.train_args]
    if row.processes:
        parts.append(f'{row.processes} processes')
    if 'DigitScenes' in text:
        parts.append(json.dumps(DigitScenesSpec().describe()))
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()


@lru_cache(maxsize=None)
def _content(path: str) -> str:
    return sha256(path)
