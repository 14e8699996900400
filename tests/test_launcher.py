"""The launcher's last line: which process failed first, and where the log is."""

import signal

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from mmlocat.launch import describe, first_failure


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


def test_the_last_line_has_rank_cause_and_log():
    line = describe(3, failures(-signal.SIGKILL)[0], 'work_dirs/a/b.log')
    assert line.startswith('rank 3 (process 100 on ') and line.endswith('the log is work_dirs/a/b.log.')
    assert 'was killed by SIGKILL, as the kernel does when memory runs out (see dmesg)' in line
    line = describe(0, failures(1)[0], None)
    assert 'ended with exit code 1; what it said stands above' in line and 'it had not begun a log' in line
    assert 'was killed by SIGSEGV. All' in describe(0, failures(-signal.SIGSEGV)[0], None)
