"""Trains as the front page's command does, on one GPU and synthetic images: LocAtViT, then the plain ViT's config."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
from PIL import Image

from mmlocat.utils import share_folder

from .plan import Training
from .worker import Job

_CLASSES = 150
_LAUNCHER_VARIABLES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'PORT', 'NNODES', 'NODE_RANK')
# Seconds that a training needs beside its iterations: two interpreter starts, building a model, and the first steps.
_START = 25
# Seconds that a training needs to stop once it is told to.
_STOP = 8


def write_images(root: Path, number: int, side: int) -> None:
    """Writes a data set in ADE20K's layout and image sizes: smooth noise, with labels of large areas.

    Args:
        root: The data set's folder, which is created.
        number: Number of training images, and of validation images.
        side: Their shorter side, in pixels; the longer one is a third longer.
    """
    generator = np.random.default_rng(0)
    size = (side * 4 // 3, side)
    for split, short in (('training', 'train'), ('validation', 'val')):
        for kind in ('images', 'annotations'):
            (root / kind / split).mkdir(parents=True)
        for index in range(number):
            name = f'ADE_{short}_{index + 1:08d}'
            coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize(size, Image.BICUBIC).save(root / 'images' / split / f'{name}.jpg')
            areas = generator.integers(0, _CLASSES + 1, (6, 8), dtype=np.uint8)
            Image.fromarray(areas).resize(size, Image.NEAREST).save(root / 'annotations' / split / f'{name}.png')


def command(name: str, data: Path, work_dir: Path, plan: Training) -> List[str]:
    """Returns the front page's command for a shipped config, with other length, data and initial weights.

    Args:
        name: The config's file.
        data: The data set's folder.
        work_dir: Folder for the log.
        plan: The training.
    """
    share = share_folder()
    options = dict([
        ('checkpoint', None), ('train_dataloader.batch_size', plan.batch), ('train_dataloader.dataset.data_root', data),
        ('train_cfg.max_iters', plan.iterations), ('train_cfg.val_interval', 10 * plan.iterations),
        ('default_hooks.logger.interval', plan.interval), ('default_hooks.checkpoint.interval', 10 * plan.iterations),
        ('default_hooks.checkpoint.save_last', False),
        ('log_processor.window_size', plan.interval)])  # so that a line of the log is the mean of its own iterations
    return ['bash', str(share / 'tools' / 'dist_train.sh'), str(share / 'configs' / name), '1', '--work-dir',
            str(work_dir), '--no-validate', '--no-data-check', *plan.arguments,
            *(f'{key}={value}' for key, value in options.items())]


def read_log(work_dir: Path) -> List[Dict[str, Any]]:
    """Returns the lines of a training's log that have times, in order."""
    lines = []
    for path in sorted(work_dir.rglob('scalars.json')):
        entries = map(json.loads, path.read_text(encoding='utf-8').splitlines())
        lines += [entry for entry in entries if 'time' in entry]
    return lines


def _run(arguments: List[str], log: Path, seconds: float) -> str:
    """Runs the training for at most ``seconds``; returns the end of its output if it failed, else ''."""
    environment = {name: value for name, value in os.environ.items() if name not in _LAUNCHER_VARIABLES}
    environment['PYTHON'] = sys.executable
    with open(log, 'w+', encoding='utf-8') as said:
        process = subprocess.Popen(arguments, env=environment, stdout=said, stderr=subprocess.STDOUT)
        try:
            process.wait(max(1.0, seconds))
        except subprocess.TimeoutExpired:
            process.terminate()  # the launcher passes the signal on to its processes
            try:
                process.wait(_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
            return f'it was not done after {seconds:.0f} s'
        if process.returncode == 0:
            return ''
        said.seek(0)
        lines = [line.strip() for line in said if line.strip()]
    errors = [line for line in lines if 'Error' in line] or lines or ['it said nothing']
    return f'exit code {process.returncode}: {errors[-1][:300]}'


def training(job: Job) -> None:
    """Trains a front-page config and its plain twin for a few iterations; reads images a second from their logs."""
    plan = job.plan.training
    steps: Dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix='mmlocat-gpu-report-') as folder:
        write_images(Path(folder) / 'data', plan.images, plan.side)
        for name in plan.configs:  # the plain twin last, so that LocAtViT's figure is there if time runs out
            shown = dict(config=name, batch=plan.batch,
                         precision='AMP, bfloat16' if '--amp' in plan.arguments else 'float32',
                         collectives='NCCL' if job.device.startswith('cuda') else 'gloo')
            job.attempt(shown, 1 if job.plan.small else _START, _train, job, Path(folder), shown, steps)
    if len(steps) == 2:
        ours, twin = plan.configs
        job.row(dict(config=f'{ours} / {twin}'), ratio=steps[ours] / steps[twin])


def _train(job: Job, folder: Path, shown: Dict[str, Any], steps: Dict[str, float]) -> None:
    plan, name = job.plan.training, shown['config']
    work_dir = folder / Path(name).stem
    problem = _run(command(name, folder / 'data', work_dir, plan), work_dir.with_suffix('.log'), job.left() - _STOP)
    lines = read_log(work_dir)[1:]  # the first includes one-time costs: choosing kernels, filling pools
    if not lines:
        raise RuntimeError(problem or 'its log has no times')
    times = [line['time'] * 1e3 for line in lines]
    steps[name] = statistics.median(times)
    job.row(shown, images_per_second=plan.batch / steps[name] * 1e3, ms=steps[name], low_ms=min(times),
            high_ms=max(times), data_ms=statistics.median(line['data_time'] for line in lines) * 1e3,
            mib=max(line.get('memory', 0) for line in lines) or None, iterations=len(lines) * plan.interval,
            note=problem or None)
