"""Writes files atomically, hashes files, and finds the folder of this package's configs and tools."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator, Union


@contextmanager
def atomic_write(path: Union[str, Path], mode: str = 'w') -> Iterator[IO]:
    """Opens a temporary file beside ``path`` and moves it there only when the block succeeds.

    Args:
        path: The file to write; its folder is created if needed.
        mode: 'w' for text (UTF-8) or 'wb' for bytes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(descriptor, mode, encoding=None if 'b' in mode else 'utf-8') as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


@contextmanager
def staged(path: Union[str, Path]) -> Iterator[Path]:
    """Gives a temporary path, for writers that open files themselves; moves the file to ``path`` on success.

    Args:
        path: The file to write; its folder is created if needed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f'.{path.name}.') as folder:
        yield Path(folder) / path.name
        os.replace(Path(folder) / path.name, path)


def sha256(path: Union[str, Path], show_from: int = 1 << 26) -> str:
    """Returns the SHA-256 of a file, in hexadecimal; shows a progress bar on a terminal.

    Args:
        path: The file.
        show_from: Size in bytes from which on progress is shown.
    """
    digest = hashlib.sha256()
    if sys.stderr.isatty() and Path(path).stat().st_size >= show_from:
        from rich.console import Console
        from rich.progress import open as open_with_progress
        file = open_with_progress(path, 'rb', description=f'sha256 {Path(path).name}', console=Console(stderr=True))
    else:
        file = open(path, 'rb')
    with file:
        for chunk in iter(lambda: file.read(1 << 20), b''):
            digest.update(chunk)
    return digest.hexdigest()


def share_folder() -> Path:
    """Returns the folder that holds ``configs/``, ``tools/`` and ``model-index.yml``.

    That is the checkout in an editable install and ``mmlocat/.mim`` in a wheel.

    Raises:
        FileNotFoundError: Neither is there.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / '.mim', package.parent):
        if (folder / 'configs').is_dir() and (folder / 'tools').is_dir():
            return folder
    raise FileNotFoundError(f'no configs/ and tools/ in {package / ".mim"} or {package.parent}; '
                            'reinstall mmlocat, or work in a checkout')
