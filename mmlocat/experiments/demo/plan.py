"""The arms of the comparison, and what has to be run for each."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from mmengine.config import Config

from mmlocat import __version__
from mmlocat.datasets.digit_scenes import DigitScenesSpec
from mmlocat.utils import share_folder

PROCESSES = 2  # of every training and test of a segmentation head


@dataclass(frozen=True)
class Arm:
    """One model of the comparison.

    Args:
        title: Its name in tables.
        pretraining: Config of the classifier; None leaves the backbone untrained.
        linear: Config of the frozen backbone with the one-layer head.
        upernet: Config of the UperNet head; None leaves it out.
    """

    title: str
    pretraining: Optional[str]
    linear: str
    upernet: Optional[str] = None


_VIT, _LOCATVIT = 'vit-nano_linear_digitscenes.py', 'locatvit-nano_linear_digitscenes.py'
ARMS: Dict[str, Arm] = {
    'vit': Arm('ViT', 'vit-nano_digitscenes.py', _VIT),
    'locatvit': Arm('LocAtViT', 'locatvit-nano_digitscenes.py', _LOCATVIT, 'locatvit-nano_upernet_digitscenes.py'),
    'gaug': Arm('ViT + GAug', 'locatvit-nano-gaug_digitscenes.py', _LOCATVIT),
    'prr': Arm('ViT + PRR', 'locatvit-nano-prr_digitscenes.py', _VIT),
    'vit-long': Arm('ViT, 8 epochs (control)', 'vit-nano-long_digitscenes.py', _VIT),
    'vit-untrained': Arm('ViT, untrained (floor)', None, _VIT),
    'locatvit-untrained': Arm('LocAtViT, untrained (floor)', None, _LOCATVIT),
}
DEMO_ARMS = ('vit', 'locatvit')


@dataclass
class Step:
    """One command, with what it leaves behind.

    Args:
        name: What the progress line calls it.
        folder: Its work dir.
        command: The command line.
        product: The file or folder in ``folder`` that proves success.
        seconds: What it took on the reference machine (2 cores), for the ETA.
        fingerprint: Of what its result depends on: versions of mmlocat and of the data, command, config and the steps
            before it. A change of code between releases is not seen: delete the work dir after one.
        resumable: Whether ``--resume`` goes on from a checkpoint in ``folder``.
    """

    name: str
    folder: Path
    command: List[str]
    product: str
    seconds: float
    fingerprint: str
    resumable: bool = False


@dataclass
class SeedPlan:
    """The steps of one seed: chains that may run side by side, then steps that use all cores each.

    Args:
        seed: Of weights and data order, the same for all arms.
        root: The work dir of this seed, with a folder an arm.
        chains: Pretraining and its test, one chain an arm.
        heads: Segmentation heads, trained and tested one after another.
    """

    seed: int
    root: Path
    chains: List[List[Step]] = field(default_factory=list)
    heads: List[Step] = field(default_factory=list)

    @property
    def steps(self) -> List[Step]:
        """All steps, chains first."""
        return [step for chain in self.chains for step in chain] + self.heads


@dataclass(frozen=True)
class Budget:
    """How long to train; None leaves what the configs say. For quick runs and tests.

    Args:
        pretraining_images: Train on the first so many images.
        segmentation_iterations: Iterations of each head.
    """

    pretraining_images: Optional[int] = None
    segmentation_iterations: Optional[int] = None

    def pretraining_options(self) -> List[str]:
        """Returns what ``--cfg-options`` must hold for a pretraining."""
        if self.pretraining_images is None:
            return []
        return [f'train_dataloader.dataset.indices={self.pretraining_images}']

    def segmentation_options(self) -> List[str]:
        """Returns what ``--cfg-options`` must hold for a head."""
        steps = self.segmentation_iterations
        if steps is None:
            return []
        return [f'train_cfg.max_iters={steps}', f'train_cfg.val_interval={steps}',
                f'param_scheduler.0.total_steps={steps}']


def plan_seed(seed: int, arms: Tuple[str, ...], work_dir: Path, budget: Budget = Budget(),
              with_upernet: bool = True) -> SeedPlan:
    """Writes down every command of one seed.

    Args:
        seed: Of weights and data order.
        arms: Keys of ``ARMS``.
        work_dir: Root of all work dirs.
        budget: How long to train.
        with_upernet: Whether arms that name a UperNet config get that head too.

    Returns:
        The plan. All arms share data, order, seed, budget and, where they have the same weights, those.
    """
    share = share_folder()
    plan = SeedPlan(seed, work_dir / f'seed{seed}')
    for key in arms:
        arm = ARMS[key]
        root = plan.root / key
        checkpoint, parent = None, ''
        if arm.pretraining:
            chain = _pretraining(seed, arm, root, share, budget)
            plan.chains.append(chain)
            parent = chain[0].fingerprint
            checkpoint = root / 'pretrain' / chain[0].product
        for head, config in (('linear', arm.linear), ('upernet', arm.upernet if with_upernet else None)):
            if config:
                plan.heads += _head(seed, arm, head, config, root, share, checkpoint, parent, budget)
    # The longest first, so that no core idles at the end.
    plan.chains.sort(key=lambda chain: -sum(step.seconds for step in chain))
    return plan


def _pretraining(seed: int, arm: Arm, root: Path, share: Path, budget: Budget) -> List[Step]:
    config = share / 'configs' / arm.pretraining
    options = [f'randomness.seed={seed}', *budget.pretraining_options()]
    settings = Config.fromfile(config)
    epochs = settings.train_cfg.max_epochs
    seconds = epochs * (50 if settings.model.backbone.gaug else 40)
    if budget.pretraining_images:
        seconds *= budget.pretraining_images / 36000
    train = _step(
        f'{arm.title}: pretrain (seed {seed})',
        root / 'pretrain', [sys.executable, share / 'tools' / 'train.py', config], ['--cfg-options', *options],
        product=f'epoch_{epochs}.pth',
        seconds=10 + seconds,
        configs=[settings],
        resumable=True)
    test = _step(
        f'{arm.title}: top-1 (seed {seed})',
        root / 'pretrain_test',
        [sys.executable, share / 'tools' / 'test.py', config, root / 'pretrain' / train.product],
        ['--out', root / 'pretrain_test' / 'metrics.json', '--out-item', 'metrics'],
        product='metrics.json',
        seconds=15,
        configs=[settings, train.fingerprint])
    return [train, test]


def _head(seed: int, arm: Arm, head: str, name: str, root: Path, share: Path, checkpoint: Optional[Path], parent: str,
          budget: Budget) -> List[Step]:
    config = share / 'configs' / name
    settings = Config.fromfile(config)
    batch = settings.train_dataloader.batch_size // PROCESSES
    options = [f'randomness.seed={seed}', f'train_dataloader.batch_size={batch}', *budget.segmentation_options()]
    if checkpoint:
        options.append(f'checkpoint={checkpoint}')
    iterations = budget.segmentation_iterations or settings.train_cfg.max_iters
    train = _step(
        f'{arm.title}: {head} head (seed {seed})',
        root / head, ['bash', share / 'tools' / 'dist_train.sh', config, str(PROCESSES)],
        [*([] if checkpoint else ['--allow-random-backbone']), '--cfg-options', *options],
        product=f'iter_{iterations}.pth',
        seconds=15 + iterations * (0.03 if head == 'linear' else 0.2),
        configs=[settings, parent],
        resumable=True)
    test = _step(
        f'{arm.title}: {head} mIoU (seed {seed})',
        root / f'{head}_test',
        ['bash', share / 'tools' / 'dist_test.sh', config, root / head / train.product, str(PROCESSES)],
        ['--out', root / f'{head}_test' / 'predictions'],
        product='predictions',
        seconds=15,
        configs=[settings, train.fingerprint])
    return [train, test]


def _step(name: str, folder: Path, command: List, options: List, *, product: str, seconds: float, configs: List,
          resumable: bool = False) -> Step:
    command = [str(part) for part in command]
    options = [str(option) for option in options]
    # Where files lie does not change a result; the checkpoint's content enters by its step's fingerprint.
    names = [Path(part).name for part in command[1:]]
    stable = [option for option in options if not option.startswith('checkpoint=') and str(folder) not in option]
    parts = [part if isinstance(part, str) else json.dumps(part.to_dict(), sort_keys=True, default=str)
             for part in configs]
    parts += [__version__, json.dumps(DigitScenesSpec().describe())]
    digest = hashlib.sha256('\n'.join([*names, *stable, *parts]).encode()).hexdigest()
    return Step(name, folder, [*command, '--work-dir', str(folder), *options], product, seconds, digest, resumable)
