"""The launcher's exit code, and torchrun's table of the processes that failed."""

import signal
import subprocess
import sys

import pytest
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from mmlocat.launch import main
from tests.conftest import ROOT


def failures(*codes):
    return ChildFailedError('train.py', {
        rank: ProcessFailure(local_rank=rank, pid=100 + rank, exitcode=code, error_file='')
        for rank, code in enumerate(codes)})


@pytest.mark.parametrize(('error', 'code'), [
    (failures(1, -signal.SIGKILL), 128 + signal.SIGKILL),  # rank 0 waited for rank 1
    (failures(-signal.SIGTERM, 3), 3),  # torchrun ended rank 0
    (failures(1, -signal.SIGTERM, -signal.SIGSEGV), 128 + signal.SIGSEGV),
    (failures(-signal.SIGTERM, -signal.SIGTERM), 128 + signal.SIGTERM),
    (SignalException('', signal.SIGUSR1), 128 + signal.SIGUSR1),
    (KeyboardInterrupt(), 130),  # before torchrun handles signals
    (None, 0),
])
def test_the_exit_code_is_that_of_what_failed_of_itself(error, code, monkeypatch, capsys):
    def run(_):
        if error:
            raise error

    monkeypatch.setattr('torch.distributed.run.run', run)
    assert main(['--standalone', 'train.py']) == code
    table = capsys.readouterr().err
    stopped = isinstance(error, (SignalException, KeyboardInterrupt))
    assert table.startswith('mmlocat: the launcher received SIG') == stopped
    assert not isinstance(error, ChildFailedError) or all(f'(local_rank: {rank})' in table for rank in error.failures)


def test_a_system_without_sigusr1(monkeypatch):
    monkeypatch.delattr(signal, 'SIGUSR1')  # Windows
    monkeypatch.setattr('torch.distributed.run.run', lambda _: None)
    assert main(['--standalone', 'train.py']) == 0


def test_without_pytorch_it_is_one_line():
    """An interpreter that sees no site-packages: what `python` is where nothing was installed."""
    said = subprocess.run([sys.executable, '-S', '-m', 'mmlocat.launch', 'train.py'], cwd=ROOT, capture_output=True,
                          text=True, env={})
    assert said.returncode == 1 and said.stderr.count('\n') == 1
    assert said.stderr.startswith('Error: ') and 'has no PyTorch: install it and mmlocat' in said.stderr
