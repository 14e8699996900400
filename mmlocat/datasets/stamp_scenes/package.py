"""Fetches the stamps of Tux Paint once: photographs with masks, from the Debian package tuxpaint-stamps-default.

The stamps are (c) 2002-2022 Bill Kendrick and the contributors of Tux Paint, under the GNU General Public License,
version 2 or later. They are no part of mmlocat: they are downloaded where they are used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.request
from pathlib import Path
from typing import Iterator, Tuple

from mmlocat.datasets.scenes.spec import cache_folder
from mmlocat.utils import staged

from .catalogue import every_name

VARIABLE = 'MMLOCAT_STAMPS'
_PACKAGE = 'tuxpaint-stamps-default_2022.06.04-1_all.deb'
_URL = f'https://deb.debian.org/debian/pool/main/t/tuxpaint-stamps/{_PACKAGE}'
_INSTALLED = Path('/usr/share/tuxpaint/stamps')
SHA256 = '91e0d79fd6055bf125eeaef3bc2ad5d248dce7aef1cb64bdfaff8f9cc4d6828a'  # of the stamps in use: names and bytes
_LICENCE = """Some of the stamps of Tux Paint, from Debian's package tuxpaint-stamps-default, unchanged.
Copyright 2002-2022 Bill Kendrick <bill@newbreedsoftware.com> and the contributors of Tux Paint.
Licence: GNU General Public License, version 2 or later; https://www.gnu.org/licenses/
Source: https://tuxpaint.org, https://tracker.debian.org/pkg/tuxpaint-stamps
"""
_ADVICE = (f'fetch the package elsewhere (apt-get download tuxpaint-stamps-default, or {_URL}) and name it, or the '
           f'folder it was unpacked to (dpkg-deb -x FILE FOLDER), by {VARIABLE}')


def prepare_stamps() -> Path:
    """Makes sure that the stamps in use lie in the cache folder, 11 MB of PNG; the first call fetches 161 MB for them.

    They come from what the environment variable MMLOCAT_STAMPS names, a Debian package or a folder with its files; else
    from an installed Tux Paint, if it is of the same version; else from a Debian mirror.

    Returns:
        The folder, which holds each stamp under its name in the catalogue, and their licence.

    Raises:
        FileNotFoundError: MMLOCAT_STAMPS names nothing, or stamps are missing in it.
        ValueError: The stamps are not those that StampScenes is made of.
        RuntimeError: The package cannot be fetched or unpacked.
    """
    from filelock import FileLock
    root = cache_folder() / f'tuxpaint-stamps-{SHA256[:8]}'
    if root.is_dir():  # complete, for it was moved there when it was
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(root) + '.lock'):
        if not root.is_dir():
            with staged(root) as scratch:
                _collect(scratch)
    return root


def _collect(folder: Path) -> None:
    """Copies the stamps in use into a new folder, from wherever they can be had, and compares their checksum."""
    given = os.environ.get(VARIABLE)
    if given and not Path(given).exists():
        raise FileNotFoundError(f'{VARIABLE} names {given}, which does not exist; {_ADVICE}')
    if given:
        _copy(Path(given), folder)
        _check(folder, given)
    elif not _from_installed(folder):
        with tempfile.TemporaryDirectory() as scratch:
            _copy(download(Path(scratch) / _PACKAGE), folder)
        _check(folder, _URL)
    (folder / 'LICENCE.txt').write_text(_LICENCE, encoding='utf-8')


def _from_installed(folder: Path) -> bool:
    """Copies the stamps of an installed Tux Paint; returns whether they are those in use: its version is not ours."""
    if not _INSTALLED.is_dir():
        return False
    _copy(_INSTALLED, folder)
    try:
        _check(folder, str(_INSTALLED))
    except (FileNotFoundError, ValueError):
        for entry in folder.iterdir():
            shutil.rmtree(entry)
        return False
    return True


def _check(folder: Path, source: str) -> None:
    """Raises an error that names the source unless the folder holds just the stamps in use."""
    missing = [name for name in every_name() if not (folder / f'{name}.png').is_file()]
    if missing:
        raise FileNotFoundError(f'{source} lacks {len(missing)} of {len(every_name())} stamps, {missing[0]}.png first; '
                                f'{_ADVICE}')
    found = checksum(folder)
    if found != SHA256:
        raise ValueError(f'the stamps of {source} have sha256 {found}, not {SHA256} as those of {_PACKAGE}; {_ADVICE}')


def checksum(folder: Path) -> str:
    """Returns the SHA-256 of the names and bytes of the stamps in use, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(every_name()):
        digest.update(f'{name}\n'.encode() + (folder / f'{name}.png').read_bytes())
    return digest.hexdigest()


def download(path: Path) -> Path:
    """Fetches the Debian package to a file; returns its path.

    Raises:
        RuntimeError: It cannot be fetched.
    """
    try:
        with urllib.request.urlopen(_URL, timeout=60) as answer, open(path, 'wb') as file:
            from rich.progress import wrap_file
            size = int(answer.headers.get('Content-Length') or 0)
            with wrap_file(answer, size, description='Fetching the stamps of Tux Paint') as body:
                for chunk in iter(lambda: body.read(1 << 20), b''):
                    file.write(chunk)
    except (OSError, ValueError) as error:
        raise RuntimeError(f'the stamps of Tux Paint cannot be fetched from {_URL} ({error}); {_ADVICE}; DigitScenes '
                           'needs no download') from error
    return path


def _copy(source: Path, folder: Path) -> None:
    wanted = set(every_name())
    for name, content in read_all(source):
        if name in wanted:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / f'{name}.png').write_bytes(content)


def read_all(source: Path) -> Iterator[Tuple[str, bytes]]:
    """Yields the names, as the catalogue has them, and bytes of all stamps of a package or a folder of its files.

    Raises:
        RuntimeError: The package cannot be unpacked.
    """
    for path, content in _files_of_folder(source) if source.is_dir() else _files_of_package(source):
        yield path.rpartition('/stamps/')[2][:-len('.png')], content


def _files_of_folder(source: Path) -> Iterator[Tuple[str, bytes]]:
    for path in source.rglob('*.png'):
        yield f'/stamps/{path.relative_to(source).as_posix()}', path.read_bytes()


def _files_of_package(source: Path) -> Iterator[Tuple[str, bytes]]:
    """Yields the PNG files of a Debian package: an ``ar`` archive whose last member is a compressed tar archive."""
    try:
        with open(source, 'rb') as file:
            if file.read(8) != b'!<arch>\n':
                raise tarfile.ReadError('not an ar archive')
            while True:
                header = file.read(60)
                if len(header) < 60:
                    raise tarfile.ReadError('no data.tar in it')
                if header.startswith(b'data.tar'):
                    break
                size = int(header[48:58])
                file.seek(size + size % 2, os.SEEK_CUR)
            with tarfile.open(fileobj=file, mode='r|*') as archive:
                for member in archive:
                    if member.isfile() and member.name.endswith('.png'):
                        yield member.name, archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise RuntimeError(f'{source} cannot be unpacked as a Debian package ({error}); {_ADVICE}') from error
