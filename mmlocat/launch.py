"""Runs torchrun, and prints one line at the end that says which process failed and where the log is.

The ``dist_*.sh`` tools call it as ``python -m mmlocat.launch [arguments of torchrun]``. It does not import
OpenMMLab.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

# Environment variable: the file into which a training or test writes its log's path, for the launcher's last line.
LOG_NOTE = 'MMLOCAT_LOG_NOTE'


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs torchrun.

    Args:
        arguments: Arguments of torchrun; those of this process by default.

    Returns:
        The exit code: 0 if all processes succeeded, else that of the process which failed first; 128 + n if signal n
        killed a process or stopped the launcher.
    """
    # torchrun passes SIGTERM and SIGINT on to its processes and waits half a minute for them. SIGUSR1, which Slurm can
    # send before it takes a machine away, would end only torchrun itself.
    if hasattr(signal, 'SIGUSR1'):  # not on Windows
        signal.signal(signal.SIGUSR1, _stop)
    with tempfile.TemporaryDirectory(prefix='mmlocat-launch-') as folder:
        note = Path(folder) / 'log'
        os.environ[LOG_NOTE] = str(note)
        try:
            run.run(run.parse_args(arguments))
        except ChildFailedError as error:
            rank, failure = first_failure(error.failures)
            how, code = describe(rank, failure), failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
        except SignalException as error:
            how, code = f'the launcher received {error.sigval.name}', 128 + error.sigval
        except KeyboardInterrupt:  # before torchrun handles signals
            how, code = 'the launcher received SIGINT', 128 + signal.SIGINT
        else:
            return 0
        where = f'the log is {note.read_text(encoding="utf-8")}' if note.is_file() else 'it had not begun a log'
    print(f'mmlocat: {how}. All processes of this launch were ended; {where}.', file=sys.stderr, flush=True)
    return code


def _stop(number: int, frame: Any) -> None:
    raise SignalException(f'signal {number}', sigval=signal.Signals(number))


def first_failure(failures: Dict[int, ProcessFailure]) -> Tuple[int, ProcessFailure]:
    """Returns the rank whose failure caused the others, and that failure.

    torchrun names the lowest rank of all that ended within the same second. But when one process is killed, the others,
    which wait for it, fail at once, and those that torchrun then ends by SIGTERM count as failed too.

    Args:
        failures: Failures by rank, as torchrun gives them; not empty.
    """

    def order(rank: int) -> tuple:
        code = failures[rank].exitcode
        kind = 1 if code > 0 else 2 if code == -signal.SIGTERM else 0
        return kind, failures[rank].timestamp, rank

    rank = min(failures, key=order)
    return rank, failures[rank]


def describe(rank: int, failure: ProcessFailure) -> str:
    """Returns a text for the launcher's last line: which process failed, and how.

    Args:
        rank: Rank of the process over all nodes.
        failure: The failure that torchrun reports for it.
    """
    who = f'rank {rank} (process {failure.pid} on {socket.gethostname()})'
    if failure.exitcode > 0:
        return f'{who} ended with exit code {failure.exitcode}; what it said stands above'
    reason = ', as the kernel does when memory runs out (see dmesg)' if failure.exitcode == -signal.SIGKILL else ''
    return f'{who} was killed by {failure.signal_name()}{reason}'


if __name__ == '__main__':
    sys.exit(main())
