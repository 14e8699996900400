"""The launcher's last line: which process failed first, and where the log is."""

import os
import re
import signal
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from mmlocat.launch import LOG_NOTE, describe, first_failure, main


def failures(*codes):
    return {rank: ProcessFailure(local_rank=rank, pid=100 + rank, exitcode=code, error_file='')
            for rank, code in enumerate(codes)}


@pytest.mark.parametrize(('codes', 'rank'), [
    ((1, -signal.SIGKILL), 1),  # rank 0 waited for rank 1
    ((-signal.SIGTERM, 1), 1),  # torchrun ended rank 0
    ((1, -signal.SIGTERM, -signal.SIGSEGV), 2),
    ((1, 1), 0),
])
def test_what_failed_of_itself_is_named(codes, rank):
    found, failure = first_failure(failures(*codes))
    assert found == rank and failure.exitcode == codes[rank]


def test_who_failed_and_how():
    killed = describe(3, failures(-signal.SIGKILL)[0])
    assert killed.startswith('rank 3 (process 100 on ')
    assert killed.endswith('was killed by SIGKILL, as the kernel does when memory runs out (see dmesg)')
    assert describe(0, failures(1)[0]).endswith('ended with exit code 1; what it said stands above')
    assert describe(0, failures(-signal.SIGSEGV)[0]).endswith('was killed by SIGSEGV')


@pytest.mark.parametrize(('error', 'log', 'code', 'line'), [
    (ChildFailedError('train.py', failures(1, -signal.SIGKILL)), 'a/b.log', 137,
     'was killed by SIGKILL, .* All processes of this launch were ended; the log is a/b.log.$'),
    (ChildFailedError('train.py', failures(-signal.SIGTERM, 3)), None, 3,
     'rank 1 .* exit code 3; .*; it had not begun a log.$'),
    (SignalException('', signal.SIGTERM), 'a/b.log', 143, '^mmlocat: the launcher received SIGTERM. .* is a/b.log.$'),
    (None, 'a/b.log', 0, '^$'),
])
def test_the_last_line_and_the_exit_code(error, log, code, line, monkeypatch, capsys):
    def run(_):
        if log:
            Path(os.environ[LOG_NOTE]).write_text(log)
        if error:
            raise error

    monkeypatch.setenv(LOG_NOTE, '')
    monkeypatch.setattr('torch.distributed.run.run', run)
    assert main(['--standalone', 'train.py']) == code
    assert re.search(line, capsys.readouterr().err.strip())
