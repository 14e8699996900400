"""Turns a suite into commands: for every row and seed a training and a test of its last checkpoint."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from mmengine.config import Config, DictAction

from mmlocat import __version__
from mmlocat.config import load_config
from mmlocat.datasets.digit_scenes import DigitScenesSpec
from mmlocat.experiments.demo.plan import Step
from mmlocat.training.provenance import canonical_config
from mmlocat.utils import sha256, share_folder

from .cost import TrainingCost, estimate
from .rows import Suite, SuiteRow


@dataclass(frozen=True)
class Launcher:
    """How the commands start processes.

    Args:
        gpus: Processes of every training and test; the total batch stays the recipe's.
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


@dataclass
class Job:
    """A row with one seed.

    Args:
        row: The row.
        seed: The seed.
        config: With the row's options merged.
        train: Its training.
        test: Its test.
        cost: Of the training.
    """

    row: SuiteRow
    seed: int
    config: Config
    train: Step
    test: Step
    cost: TrainingCost


@dataclass
class Plan:
    """All jobs of a suite.

    Args:
        chains: Jobs that start from one another's results, in order; chains do not depend on each other.
    """

    chains: List[List[Job]] = field(default_factory=list)

    @property
    def jobs(self) -> List[Job]:
        """All jobs, chain by chain."""
        return [job for chain in self.chains for job in chain]


def plan_suite(suite: Suite, work_dir: Path, launcher: Launcher = Launcher(), tflops: Optional[float] = None) -> Plan:
    """Writes down every command of a suite.

    Args:
        suite: From ``load_suite``.
        work_dir: Root of all work dirs: ROW/seedN/train and ROW/seedN/test.
        launcher: How processes start.
        tflops: See ``estimate``.

    Returns:
        The plan: first seeds first.

    Raises:
        ValueError: Options do not fit a config, or the total batch cannot be shared out evenly.
    """
    jobs: Dict[Tuple[str, int], Job] = {}
    chains: Dict[Tuple[str, int], List[Job]] = {}
    root_of: Dict[Tuple[str, int], Tuple[str, int]] = {}
    for row in suite.rows:
        config = _merged(row)
        cost = estimate(config, launcher.gpus, work_dir / row.name, tflops)
        for seed in row.seeds:
            parent = _parent(suite, row, seed)
            job = _job(row, seed, config, work_dir, launcher, jobs[parent].train if parent else None, cost)
            jobs[row.name, seed] = job
            root_of[row.name, seed] = root_of[parent] if parent else (row.name, seed)
            chains.setdefault(root_of[row.name, seed], []).append(job)
    places = {row.name: number for number, row in enumerate(suite.rows)}
    ordered = sorted(chains.items(), key=lambda item: (item[0][1], places[item[0][0]]))
    return Plan([chain for _, chain in ordered])


def _parent(suite: Suite, row: SuiteRow, seed: int) -> Optional[Tuple[str, int]]:
    if row.parent is None:
        return None
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


def _job(row: SuiteRow, seed: int, config: Config, work_dir: Path, launcher: Launcher, parent: Optional[Step],
         cost: TrainingCost) -> Job:
    root = work_dir / row.name / f'seed{seed}'
    name = f'{row.name}, seed {seed}'
    length = config.train_cfg.get('max_iters')
    product = f'iter_{length}.pth' if length else f'epoch_{config.train_cfg.max_epochs}.pth'
    checkpoint = str(parent.folder / parent.product) if parent else row.checkpoint
    options = [f'randomness.seed={seed}', *row.options, *_batch(row, config, launcher.gpus)]
    if checkpoint:
        options.append(f'checkpoint={checkpoint}')
    fingerprint = _fingerprint(row, seed, config, parent)
    # Seconds serve as weights of the progress bar; one an iteration keeps long trainings long.
    hours = cost.gpu_hours
    seconds = hours * 3600 / launcher.gpus if hours is not None else float(cost.iterations or 1000)
    train = Step(
        f'{name}: train', root / 'train',
        launcher.command(f'{row.name}-{seed}', 'train', row.config, [
            '--work-dir', str(root / 'train'), *row.train_args, '--cfg-options', *options]),
        product, seconds, fingerprint, resumable=True)
    test = Step(
        f'{name}: test', root / 'test',
        launcher.command(f'{row.name}-{seed}-test', 'test', row.config, [
            str(root / 'train' / product), '--work-dir', str(root / 'test'), '--out',
            str(root / 'test' / 'metrics.json'), *(['--cfg-options', *row.options] if row.options else [])]),
        'metrics.json', max(1., seconds / 50), hashlib.sha256(f'{fingerprint} test'.encode()).hexdigest())
    return Job(row, seed, config, train, test, cost)


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


def _fingerprint(row: SuiteRow, seed: int, config: Config, parent: Optional[Step]) -> str:
    """Hashes what the result depends on; not where files lie, nor how many processes share the batch."""
    text = json.dumps(canonical_config(config), sort_keys=True)
    origin = parent.fingerprint if parent else row.checkpoint or ''
    if origin and Path(origin).is_file():
        origin = _content(origin)
    parts = [__version__, row.config.name, str(seed), text, origin, *row.train_args]
    if 'DigitScenes' in text:
        parts.append(json.dumps(DigitScenesSpec().describe()))
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()


@lru_cache(maxsize=None)
def _content(path: str) -> str:
    return sha256(path)
