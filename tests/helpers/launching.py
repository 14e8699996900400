"""Launches of ``tools/dist_*.sh`` for tests: started, waited for, and ended whatever happens.

They run on CPUs: NCCL refuses several processes on one GPU, and what they show is that the processes compute as one.
"""

import socket
import subprocess
import time
from contextlib import contextmanager
from types import SimpleNamespace

import psutil

from tests.conftest import ROOT, child_environment


@contextmanager
def launched(config, processes, work_dir, more=(), tool='dist_train.sh', checkpoint=None, **variables):
    """Starts ``dist_train.sh`` or ``dist_test.sh``; whatever still runs at the end is ended."""
    log = work_dir.with_suffix(f'.{variables.get("NODE_RANK", 0)}.log')
    environment = {**child_environment(), **{name: str(value) for name, value in variables.items()}}
    environment['CUDA_VISIBLE_DEVICES'] = ''
    environment['PYTHONPATH'] = str(ROOT)
    command = [ROOT / 'tools' / tool, config, *([checkpoint] if checkpoint else []), processes, '--work-dir', work_dir,
               *more]
    with open(log, 'w') as file:
        process = subprocess.Popen(
            [str(part) for part in command], env=environment, stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True)
    try:
        yield SimpleNamespace(process=process, read=log.read_text, work_dir=work_dir)
    finally:
        left = [process, *children(process)] if process.poll() is None else []
        for each in left:
            each.kill()
        process.wait()


def children(process):
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def finish(launch, timeout=200):
    code = launch.process.wait(timeout)
    assert code == 0, f'exit code {code}\n{launch.read()[-4000:]}'


def wait_for(path, launches, timeout=200):
    end = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < end and all(launch.process.poll() is None for launch in launches), (
            '\n'.join(launch.read()[-3000:] for launch in launches))
        time.sleep(0.1)


def free_port():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]
