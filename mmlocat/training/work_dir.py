"""Allows one training at a time in a work dir, since two would overwrite each other's checkpoints."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import IO, Dict, List, Union

from mmengine.config import Config

from .context import Context
from .hardware import is_main_process

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FILE = '.training'
_held: Dict[Path, IO] = {}


def check_work_dir(config: Config, context: Context) -> List[str]:
    """Makes sure that the work dir is not a file.

    Raises:
        ValueError: It is a file.
    """
    if Path(config.work_dir).exists() and not Path(config.work_dir).is_dir():
        raise ValueError(f'--work-dir {config.work_dir} is a file; it names a folder')
    return []


def claim(config: Config, context: Context) -> List[str]:
    """Locks the work dir of a training, in its first process; see ``claim_work_dir``."""
    if is_main_process():
        claim_work_dir(config.work_dir)
    return []


def claim_work_dir(work_dir: Union[str, Path]) -> None:
    """Locks a work dir for this process; the operating system releases the lock when the process ends, in any way.

    Does nothing if the system or file system has no such locks. A process may call it several times for a work dir.

    Args:
        work_dir: The folder; created if needed.

    Raises:
        RuntimeError: Another process trains there.
    """
    path = Path(work_dir).resolve() / FILE
    if fcntl is None or path in _held:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, 'a+', encoding='utf-8')
    try:
        # Not flock: data-loader workers would inherit it, and keep it after this process has been killed.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise RuntimeError(f'another training ({holder or "unknown"}) writes to {work_dir}; give this one its own '
                               'with --work-dir, or wait until that one has ended') from error
        return
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}')
    file.flush()
    _held[path] = file
