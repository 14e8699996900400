"""Runs torchrun, so that SIGUSR1 stops all processes as SIGTERM does, and the exit code tells what failed first.

The ``dist_*.sh`` tools call it as ``python -m mmlocat.launch [arguments of torchrun]``. It does not import
OpenMMLab.
"""

from __future__ import annotations

import signal
import sys
from typing import Any, List, Optional

try:
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
except ModuleNotFoundError as error:
    if error.name != 'torch' or __name__ != '__main__':
        raise
    sys.exit(f'Error: {sys.executable} has no PyTorch: install it and mmlocat (README, "Install on a GPU machine"), or '
             'name the interpreter that has them by PYTHON=')


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
    try:
        run.run(run.parse_args(arguments))
    except ChildFailedError as error:
        print(error, file=sys.stderr, flush=True)  # a table: which processes failed, where and how
        codes = [failure.exitcode for failure in error.failures.values()]
        # When one process is killed, the others, which wait for it, fail too, or are ended by torchrun's SIGTERM.
        code = min(codes, key=lambda code: (code == -signal.SIGTERM, code > 0))
        return code if code > 0 else 128 - code
    except (SignalException, KeyboardInterrupt) as error:  # the latter before torchrun handles signals
        number = signal.Signals(getattr(error, 'sigval', signal.SIGINT))
        print(f'mmlocat: the launcher received {number.name}; its processes have ended.', file=sys.stderr, flush=True)
        return 128 + number
    return 0


def _stop(number: int, frame: Any) -> None:
    raise SignalException(f'signal {number}', sigval=signal.Signals(number))


if __name__ == '__main__':
    sys.exit(main())
