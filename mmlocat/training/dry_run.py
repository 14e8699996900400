"""Shows what a training will do, after all its checks, without training: ``--dry-run``, or ``checks.dry_run=True``."""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import IterBasedTrainLoop, Runner

from mmlocat.config import resolve_type
from mmlocat.utils.tables import Table
from mmlocat.utils.terminal import is_main_process

from . import footprint
from .amp import CPUAmpOptimWrapper
from .context import Context
from .hardware import total_batch
from .initial_weights import over_in_words
from .recipe import frozen_parts, needs_epoch_length, rates_in_words, training_length
from .screen import device_in_words

_STEPPED = 200_000  # the most iterations for which a schedule is gone through, which takes some five seconds
_OF_A_TRAINING = re.compile('iter_|epoch_|best_|interrupted')  # how the names of its checkpoints begin


def refuse_dry_test(config: Config, context: Context) -> List[str]:
    """Refuses a dry run of a test.

    Raises:
        ValueError: A test is asked for, and so is a dry run.
    """
    if context.options['dry_run']:
        raise ValueError('checks.dry_run=True shows what a training would do, and cannot show a test; leave it out')
    return []


def write_elsewhere(config: Config, context: Context) -> List[str]:
    """Sends what MMEngine writes as it builds a Runner into a temporary folder, in a dry run.

    It changes ``work_dir``, and leaves the visualizer without back-ends.
    """
    if context.options['dry_run']:
        context.scratch = tempfile.TemporaryDirectory(prefix='mmlocat-dry-run-')
        context.work_dir, config.work_dir = config.get('work_dir') or 'work_dirs', context.scratch.name
        visualizer = config.get('visualizer')
        if isinstance(visualizer, dict):
            # Under its name MMEngine would give the next Runner of this process the same visualizer, with its folder.
            visualizer.pop('name', None)
            if visualizer.get('vis_backends'):
                visualizer['vis_backends'] = []  # those of a service would begin a run there
    return []


def show_plan(runner: Runner, context: Context) -> None:
    """Prints the table of what a training will do, in the first process, and removes the temporary folder.

    Args:
        runner: A Runner that is ready to train.
        context: That of its checks.
    """
    facts = plan(runner, context)  # in all processes: a sharded model gives its weights only to all of them
    if is_main_process():
        table = Table(['topic', 'what will happen'], f'A dry run of {runner.cfg.filename or "this config"}', words=2)
        for topic, text in facts.items():
            table.add(topic, text)
        table.print()
        print('All checks passed; nothing was trained, and nothing is left on disk but what was fetched into caches.',
              flush=True)
    for logger in (runner.logger, logging.getLogger('mmlocat')):
        for handler in [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]:
            logger.handlers.remove(handler)
            handler.close()
    context.scratch.cleanup()


def plan(runner: Runner, context: Context) -> Dict[str, str]:
    """Returns what a training will do, by topic, in the order to read.

    Counts, sizes of checkpoints and rates are what the training will have; memory is an estimate.

    Args:
        runner: A Runner that is ready to train.
        context: That of its checks.
    """
    model = context.model.train()
    state = footprint.optimizer_state(runner)
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return {
        'Data': '\n'.join(_data(runner)),
        'Batch': _batch(runner, context),
        'Length': _length(runner),
        **_rates(runner),
        'Parameters': f'{trained:,} trained of {total:,}',
        'Frozen': '; '.join(frozen_parts(model)) or 'nothing',
        'Weights': _weights(context),
        'Device': device_in_words(),
        'Memory (estimate)': _memory(runner, context, state),
        'Disk': '\n'.join(_disk(runner, context, state)) or 'no hook saves checkpoints',
        'Seed': str(runner.seed),
        'Results': _results(str(context.work_dir)),
    }


def _data(runner: Runner) -> Iterator[str]:
    loops = dict(train=runner.train_loop, val=runner.val_loop if runner._val_loop is not None else None)
    for name, loop in loops.items():
        if loop is not None:
            dataset = loop.dataloader.dataset
            kind = runner.cfg[f'{name}_dataloader'].dataset.get('type')
            root = runner.cfg[f'{name}_dataloader'].dataset.get('data_root')
            named = f'{getattr(kind, "__name__", kind)}{f" in {root}" if root else ""}'
            yield f'{name}: {len(dataset):,} images ({named})'


def _batch(runner: Runner, context: Context) -> str:
    each = runner.train_dataloader.batch_size
    total = total_batch(runner.cfg, context.processes)
    if each is None or total is None:
        return 'as its sampler makes it'
    steps = total // (each * context.processes)
    return f'{total} an optimizer step: {each} a process x {context.processes}' + (
        f' x {steps} accumulated' if steps > 1 else '')


def _length(runner: Runner) -> str:
    iterations = runner.max_iters
    validation = f', validation every {runner.val_interval:,}' if runner._val_loop is not None else ', no validation'
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        images = iterations * (runner.train_dataloader.batch_size or 0) * runner.world_size
        passes = images / max(1, len(runner.train_dataloader.dataset))
        return f'{iterations:,} iterations, {passes:.3g} times through the data{validation}'
    epochs = f'{runner.max_epochs:,} epochs of {len(runner.train_dataloader):,} iterations'
    return f'{epochs}, {iterations:,} in all{validation}'


def _rates(runner: Runner) -> Dict[str, str]:
    settings = runner.cfg.optim_wrapper.get('optimizer')
    if not settings:
        return {'Learning rate': 'as the config says, of several optimizers'}
    if 'lr' not in settings:
        return {'Learning rate': "the optimizer's default"}
    try:
        length = len(runner.train_dataloader) if needs_epoch_length(runner.cfg) else None
        if training_length(runner.cfg)[0] * (length or 1) > _STEPPED:
            return {'Learning rate': f'{settings["lr"]:.4g} by a schedule that is too long to be gone through here'}
        text, peak = rates_in_words(runner.cfg, epoch_length=length)
    except Exception:  # a scheduler may be anybody's, or follow a score
        return {'Learning rate': f'{settings["lr"]:.4g} by a schedule that cannot be told beforehand'}
    return {'Learning rate': text, 'Warm-up': f'until {peak}' if peak else 'none'}


def _weights(context: Context) -> str:
    if context.resumed:
        return f'goes on from {context.resumed}'
    return '\n'.join(filter(None, [context.initial, context.fitted, over_in_words(context.loaded)])) or 'random'


def _memory(runner: Runner, context: Context, state: Optional[Dict[str, Any]]) -> str:
    wrapper = resolve_type(runner.cfg.optim_wrapper, OPTIM_WRAPPERS, runner.cfg.get('default_scope'))
    half = isinstance(wrapper, type) and issubclass(wrapper, (AmpOptimWrapper, CPUAmpOptimWrapper))
    size = footprint.in_words(footprint.memory_estimate(runner, state, context.kept, half))
    there = ''
    if torch.cuda.is_available():
        there = f', of {footprint.in_words(torch.cuda.get_device_properties(0).total_memory)} on the GPU'
    if context.kept is None:
        return f'over {size} a process{there}: what this model keeps for its backward pass is not known'
    return f'about {size} a process{there}, for PyTorch and the data some more'


def _disk(runner: Runner, context: Context, state: Optional[Dict[str, Any]]) -> Iterator[str]:
    folder = str(context.work_dir)
    free, needed, there = footprint.free_space(folder), 0, 0
    for hook in runner.hooks:
        if not isinstance(hook, CheckpointHook):
            continue
        saved = footprint.saved_by(runner, hook, state)
        needed += saved.peak
        unknown = ', without the state of the optimizer' if state is None else ''
        text = f'{saved.kept} of {saved.written} checkpoints kept, {footprint.in_words(saved.each)} each{unknown}'
        if saved.best:
            text += f', and {saved.best} of the best score, {footprint.in_words(saved.best_each)} each'
        text += f': {footprint.in_words(saved.total)}'
        if saved.peak > saved.total:
            text += f', {footprint.in_words(saved.peak)} while the last one is written'
        yield text
    if context.resumed and Path(context.resumed).resolve().parent == Path(folder).resolve():
        there = sum(path.stat().st_size for path in Path(folder).glob('*.pth') if _OF_A_TRAINING.match(path.name))
    if needed:
        room = f'{footprint.in_words(free)} are free' + (
            f', beside {footprint.in_words(there)} of these checkpoints that are there already' if there else '')
        yield room if needed - there < free else (
            f'NOT ENOUGH SPACE: {room}; keep fewer by default_hooks.checkpoint.max_keep_ckpts, or choose another '
            '--work-dir')


def _results(folder: str) -> str:
    earlier = (Path(folder) / 'last_checkpoint').exists()
    return folder + (' (an earlier training is there; its checkpoints of the same names will be overwritten, unless '
                     'it is resumed)' if earlier else '')
