"""Writes files atomically, hashes files, and finds the folder of this package's configs and tools."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator, Union


@contextmanager
def staged(path: Union[str, Path]) -> Iterator[Path]:
    """Gives a temporary path beside ``path``, and moves the file there only when the block succeeds.

    Args:
        path: The file or folder to write; its folder is created if needed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f'.{path.name}.') as folder:
        yield Path(folder) / path.name
        os.replace(Path(folder) / path.name, path)


@contextmanager
def atomic_write(path: Union[str, Path], mode: str = 'w') -> Iterator[IO]:
    """Opens a file that appears under its name, in place of an old one, only when the block succeeds.

    Args:
        path: The file to write; its folder is created if needed.
        mode: 'w' for text (UTF-8) or 'wb' for bytes.
    """
    with staged(path) as temporary, open(temporary, mode, encoding=None if 'b' in mode else 'utf-8') as file:
        yield file


def check_folder(option: str, folder: Union[str, Path]) -> Path:
    """Makes sure that files can be written into a folder, or that it can be made; makes nothing.

    Args:
        option: The option that names it, for the message.
        folder: The folder.

    Returns:
        The folder.

    Raises:
        ValueError: It, or what it would lie in, is a file or may not be written to.
    """
    folder = Path(folder)
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        what = 'is a file, not a folder' if there == folder.absolute() else f'cannot be made: {there} is a file'
    elif not os.access(there, os.W_OK | os.X_OK):
        what = f'cannot be written: no permission for {there}'
    else:
        return folder
    raise ValueError(f'{option} {folder} {what}; name another folder')


def sha256(path: Union[str, Path]) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
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
