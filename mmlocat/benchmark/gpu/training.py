"""The part that trains: the front page's command on one GPU, LocAtViT and its plain twin, on synthetic images."""

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

from .job import Job
from .plan import Training

_CLASSES = 150
_LAUNCHER_VARIABLES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'PORT', 'NNODES', 'NODE_RANK')
# What a training needs beside its iterations: two starts of an interpreter, a model, and the first steps.
_START = 25
# Seconds in which a training that is told to stop has stopped.
_STOP = 8


def write_images(root: Path, number: int, side: int) -> None:
    """Writes a data set in ADE20K's layout: smooth noise and labels of large areas, in the sizes of its pictures.

    Args:
        root: Its folder, made here.
        number: Of images, for training and as many for validation.
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


def write_config(path: Path, name: str, data: Path, plan: Training, crop: int) -> None:
    """Writes a short training that is a shipped config but for its length, its data and its initial weights."""
    model = {**plan.changes, 'backbone': {**plan.changes.get('backbone', {}), 'init_cfg': None}}
    if plan.changes:
        model['data_preprocessor'] = dict(size=(crop, crop))
    changes = dict(
        checkpoint=None,
        model=model,
        train_dataloader=dict(batch_size=plan.batch, dataset=dict(data_root=str(data))),
        train_cfg=dict(max_iters=plan.iterations, val_interval=10 * plan.iterations),
        default_hooks=dict(
            logger=dict(interval=plan.interval),
            checkpoint=dict(interval=10 * plan.iterations, save_last=False)),
        # A line of the log is the mean of its own iterations.
        log_processor=dict(window_size=plan.interval))
    text = [f'_base_ = {str(share_folder() / "configs" / name)!r}']
    text += [f'{key} = {value!r}' for key, value in changes.items()]
    if plan.changes:  # small pictures for a small model
        text.append(f'_pipeline = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), '
                    f'dict(type="Resize", scale=({crop}, {crop}), keep_ratio=False), dict(type="PackSegInputs")]')
        text.append('train_dataloader["dataset"]["pipeline"] = _pipeline')
        text.append('train_dataloader.update(num_workers=0, persistent_workers=False)')
    path.write_text('\n'.join(text) + '\n', encoding='utf-8')


def read_log(work_dir: Path) -> List[Dict[str, Any]]:
    """Returns the lines of a training's log that have times, in order."""
    lines = []
    for path in sorted(work_dir.rglob('scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            entry = json.loads(line)
            if 'time' in entry:
                lines.append(entry)
    return lines


def _train(config: Path, work_dir: Path, plan: Training, seconds: float) -> str:
    """Runs the training, for at most so many seconds; returns the end of what it said where it failed, else ''."""
    tools = share_folder() / 'tools'
    command = ['bash', str(tools / 'dist_train.sh'), str(config), '1', '--work-dir', str(work_dir), '--no-validate',
               '--no-data-check', *(['--amp', '--cfg-options', 'optim_wrapper.dtype=bfloat16'] if plan.amp else [])]
    environment = {name: value for name, value in os.environ.items() if name not in _LAUNCHER_VARIABLES}
    environment['PYTHON'] = sys.executable
    with open(work_dir.with_suffix('.log'), 'w+', encoding='utf-8') as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        try:
            process.wait(max(1.0, seconds))
        except subprocess.TimeoutExpired:
            process.terminate()  # the launcher hands it on to its processes
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
    """Trains a config of the front page for a few iterations, and its plain twin; images a second from their logs."""
    plan = job.plan.training
    crop = 32 if plan.changes else 512
    steps: Dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix='mmlocat-gpu-report-') as folder:
        data = Path(folder) / 'data'
        write_images(data, plan.images, crop)
        for name in plan.configs:  # the plain twin last: where time ends, it is LocAtViT's figure that is there
            shown = dict(config=name, batch=plan.batch, precision='AMP, bfloat16' if plan.amp else 'float32',
                         collectives='NCCL' if job.device.startswith('cuda') else 'gloo')
            with job.case(shown, needs=1 if job.plan.small else _START) as go:
                if not go:
                    continue
                work_dir, config = Path(folder) / Path(name).stem, Path(folder) / f'short-{name}'
                write_config(config, name, data, plan, crop)
                problem = _train(config, work_dir, plan, job.left() - _STOP)
                lines = read_log(work_dir)[1:]  # the first has what happens once: choosing kernels, filling pools
                if not lines:
                    raise RuntimeError(problem or 'its log has no times')
                times = [line['time'] * 1e3 for line in lines]
                steps[name] = statistics.median(times)
                job.row(shown, images_per_second=plan.batch / steps[name] * 1e3, ms=steps[name], low_ms=min(times),
                        high_ms=max(times), data_ms=statistics.median(line['data_time'] for line in lines) * 1e3,
                        mib=max(line.get('memory', 0) for line in lines) or None,
                        iterations=len(lines) * plan.interval, note=problem or None)
    if len(steps) == 2:
        ours, twin = plan.configs
        job.row(dict(config=f'{ours} / {twin}'), ratio=steps[ours] / steps[twin])
