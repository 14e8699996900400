"""Trainings in processes of their own, to be killed, stopped and resumed.

They are forked (``forked.py``), and run on CPUs whatever the machine has. What they show of checkpoints and signals
does not depend on the device; on a GPU few kernels repeat themselves to the last bit.
"""

import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch

from tests.conftest import ROOT
from tests.helpers.forked import begin, context, redirect
from tests.helpers.launching import free_port

# All that can be random: flips and colours of the samples, dropout, drop path, mixup; batch statistics; two workers.
SEGMENTOR = """
_base_ = '{configs}/locatvit-nano_upernet_digitscenes.py'
model = dict(backbone=dict(drop_path_rate=0.2), decode_head=dict(dropout_ratio=0.2))
train_dataloader = dict(batch_size=4, num_workers={workers}, dataset=dict(data_root='{data}', pipeline=[
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'), dict(type='PackSegInputs')]))
val_dataloader = dict(dataset=dict(data_root='{data}'))
test_dataloader = dict(dataset=dict(data_root='{data}'))
train_cfg = dict(max_iters={length}, val_interval={validate})
param_scheduler = [dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end={length}, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval={save}, max_keep_ckpts=1, save_best='mIoU'), logger=dict(interval=1))
"""
CLASSIFIER = """
_base_ = '{configs}/locatvit-nano_digitscenes.py'
model = dict(backbone=dict(drop_path_rate=0.2), train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8)]))
train_dataloader = dict(batch_size=16, num_workers={workers}, dataset=dict(data_root='{data}', pipeline=[
    dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]))
val_dataloader = dict(dataset=dict(data_root='{data}'))
test_dataloader = dict(dataset=dict(data_root='{data}'))
train_cfg = dict(max_epochs={length}, val_interval={validate})
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, T_max={length}, convert_to_iter_based=True)]
default_hooks = dict(checkpoint=dict(interval={save}, max_keep_ckpts=1), logger=dict(interval=1))
"""


# What gives the tools of OpenMMLab all that tools/train.py gives.
CHECKED = """
_base_ = '{config}'
runner_type = 'CheckedRunner'
custom_imports = dict(imports=['mmlocat.models', 'mmlocat.datasets', 'mmlocat.training'], allow_failed_imports=False)
checks = dict(data=False)
"""


def write_config(folder, template, data, length, save, validate, workers=0):
    """Writes a config and returns its path."""
    path = Path(folder) / f'{"segmentor" if template is SEGMENTOR else "classifier"}.py'
    path.write_text(template.format(configs=ROOT / 'configs', data=data, length=length, save=save, validate=validate,
                                    workers=workers))
    return path


def write_checked_config(folder, *args, **kwargs):
    """Writes a config for the tools of OpenMMLab, which names ``CheckedRunner``, and returns its path."""
    base = write_config(folder, *args, **kwargs)
    path = Path(folder) / f'checked_{base.name}'
    path.write_text(CHECKED.format(config=base))
    return path


def start(config, work_dir, *arguments, prepare=None, environment=None, tool=None):
    """Starts a training as tools/train.py does, or another tool, by its path.

    ``prepare`` (a function of a module) runs in the process before.
    """
    arguments = [str(config), *map(str, arguments), '--work-dir', str(work_dir)]
    process = context().Process(target=_run, args=(
        arguments if tool else [*arguments, '--no-data-check'], prepare, environment or {}, str(work_dir), tool))
    process.start()
    return process


def environments(processes):
    """What torchrun tells each of so many processes on one machine."""
    port = str(free_port())
    return [dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), MASTER_ADDR='127.0.0.1',
                 MASTER_PORT=port) for rank in range(processes)]


def _run(arguments, prepare, environment, work_dir, tool):
    os.setpgid(0, 0)
    redirect(f'{work_dir}.{os.getpid()}.out')
    begin({**os.environ, 'OMP_NUM_THREADS': '1', **environment})
    from mmlocat.training.cli import run_job, training_job
    if prepare is not None:
        prepare()
    if tool is None:
        run_job(lambda: training_job(arguments))
    else:
        sys.argv = [str(tool), *arguments]
        runpy.run_path(str(tool), run_name='__main__')


def said(work_dir, process):
    """What a process wrote on stdout and stderr so far."""
    try:
        return Path(f'{work_dir}.{process.pid}.out').read_text(errors='replace')
    except FileNotFoundError:
        return ''


def finish(work_dir, process, expected=0, limit=200):
    """Waits for a process and checks its exit code; returns what it said."""
    process.join(limit)
    text = said(work_dir, process)
    assert process.exitcode == expected, f'exit code {process.exitcode}: {text[-3000:]}'
    return text


def die(where, count):
    """For ``prepare``: kills the process the ``count``-th time that it is at a certain point of saving a checkpoint.

    Args:
        where: 'half-written', 'not renamed', 'not named' (in last_checkpoint) or 'old ones there'.
        count: From 1.
    """
    from mmengine.fileio import LocalBackend

    from mmlocat.training import saving
    calls = []

    def due():
        calls.append(1)
        return len(calls) == count

    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    def put(self, data, path):
        if not due():
            return stock_put(self, data, path)
        with open(path, 'wb') as file:
            file.write(data[:len(data) // 2])
            file.flush()
            kill()

    def before(function):
        return lambda *arguments: kill() if due() else function(*arguments)

    stock_put = LocalBackend.put
    if where == 'half-written':
        LocalBackend.put = put
    elif where == 'not renamed':
        saving.os = SimpleNamespace(replace=before(os.replace), fsync=os.fsync)
    elif where == 'not named':
        saving.write_last_checkpoint = before(saving.write_last_checkpoint)
    else:
        saving.AtomicCheckpointHook._remove = before(saving.AtomicCheckpointHook._remove)


WHILE_SAVING = ('half-written', 'not renamed', 'not named', 'old ones there')


def wait_for(condition, process, limit=200):
    """Waits until ``condition`` holds; fails if the process ends before."""
    deadline = time.monotonic() + limit
    while not condition():
        assert process.is_alive() and time.monotonic() < deadline, 'it ended, or took too long'
        time.sleep(0.005)


def weights(work_dir):
    """The weights and the optimizer's state at the end of a training."""
    name = (Path(work_dir) / 'last_checkpoint').read_text()
    checkpoint = torch.load(name, map_location='cpu', weights_only=False)
    tensors = dict(checkpoint['state_dict'])
    for number, state in checkpoint['optimizer']['state'].items():
        tensors.update({f'optimizer.{number}.{key}': torch.as_tensor(value) for key, value in state.items()})
    return Path(name).name, tensors


def scalars(work_dir):
    """What the log holds for every step, times and memory left out; of a step done twice, the last."""
    steps = {}
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # a kill cut the line off
                continue
            kind = 'val' if any(key in entry for key in ('mIoU', 'accuracy/top1')) else 'train'
            values = {key: value for key, value in entry.items() if key not in ('time', 'data_time', 'memory')}
            steps[kind, entry['step']] = values
    return steps


def largest_difference(work_dir, expected_dir):
    """The largest difference of any number in the final checkpoint; asserts that both hold the same names."""
    (name, found), (expected_name, expected) = weights(work_dir), weights(expected_dir)
    assert name == expected_name and found.keys() == expected.keys() and len(found) > 100
    return max(float((found[key].double() - expected[key].double()).abs().max()) for key in found)
