"""Small helpers that every folder may use; imports nothing heavy."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Callable, Iterator, Sequence, TypeVar, Union

Item = TypeVar('Item')


def require_openmmlab(needed_by: str) -> None:
    """Makes sure that the OpenMMLab packages import.

    Args:
        needed_by: What asks for them, for the message.

    Raises:
        ImportError: One is missing; the message names the extra that installs it.
    """
    require_modules(('mmengine', 'mmcv', 'mmpretrain', 'mmseg'), 'onedl', needed_by,
                    'the maintained builds, or pip install "mmlocat[openmmlab]" for the upstream releases')


def require_modules(modules: tuple, extra: str, needed_by: str, remark: str = '') -> None:
    """Imports ``modules`` or says which extra installs the one that is missing.

    Args:
        modules: Names of importable modules.
        extra: The extra of mmlocat that brings them.
        needed_by: What asks for them, for the message.
        remark: Further advice for the message.

    Raises:
        ImportError: One of them does not import.
    """
    for name in modules:
        try:
            importlib.import_module(name)
        except (ImportError, AssertionError) as error:  # mmseg and mmpretrain assert mmcv's version
            advice = f' ({remark})' if remark else ''
            raise ImportError(f'{needed_by} needs {name}, which does not import here ({error}). '
                              f'Install it with: pip install "mmlocat[{extra}]"{advice}') from error


@contextmanager
def stoppable(remark: Callable[[], str] = str) -> Iterator[None]:
    """Lets Ctrl-C end a tool with one line instead of a traceback, and with exit code 130, as shells report it.

    Of several processes the first speaks for all.

    Args:
        remark: Gives what the line should say beyond that the tool was stopped.
    """
    try:
        yield
    except KeyboardInterrupt:
        if int(os.environ.get('RANK', 0)) == 0:
            print(f'Stopped by Ctrl-C. {remark()}'.rstrip(), file=sys.stderr)
        sys.exit(130)


def with_progress(items: Sequence[Item], describe: Callable[[Item], str]) -> Iterator[Item]:
    """Goes through items and says on stderr, before each, which it is and when all will be done.

    Args:
        items: What is worked on, seconds each.
        describe: Names one.
    """
    began = time.monotonic()
    for number, item in enumerate(items):
        left = (time.monotonic() - began) / max(1, number) * (len(items) - number)
        eta = f', ETA {timedelta(seconds=round(left))}' if number else ''
        print(f'[{number + 1}/{len(items)}] {describe(item)}{eta}', file=sys.stderr, flush=True)
        yield item


@contextmanager
def atomic_write(path: Union[str, Path], mode: str = 'w') -> Iterator[IO]:
    """Opens a temporary file beside ``path`` and moves it there only when the block succeeds.

    Args:
        path: The file to write; its folder is made if needed.
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
    """Gives a place beside ``path``, for writers that open files themselves; moves the file there on success.

    Args:
        path: The file to write; its folder is made if needed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f'.{path.name}.') as folder:
        yield Path(folder) / path.name
        os.replace(Path(folder) / path.name, path)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type where it has none."""
    return str(error).strip().split('\n')[0][:300] or type(error).__name__


def sha256(path: Union[str, Path], show_from: int = 1 << 26) -> str:
    """Returns the SHA-256 of a file, in hexadecimal; with a progress bar on a terminal.

    Args:
        path: The file.
        show_from: Bytes from which on progress is shown.
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
    package = Path(__file__).resolve().parent
    for folder in (package / '.mim', package.parent):
        if (folder / 'configs').is_dir() and (folder / 'tools').is_dir():
            return folder
    raise FileNotFoundError(f'no configs/ and tools/ in {package / ".mim"} or {package.parent}; '
                            'reinstall mmlocat, or work in a checkout')


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--trust-pickle``, which every tool that reads a checkpoint takes.

    Args:
        parser: The tool's parser.
    """
    parser.add_argument(
        '--trust-pickle', action='store_true', help='load pickles that hold more than plain data; they can run code')
