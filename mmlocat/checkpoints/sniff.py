"""Recognises a checkpoint's format by its content, not its name, and refuses truncated files."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Union

from .errors import CheckpointError

_HEADER = 512
# Larger than any safetensors header; the library has the same limit.
_LARGEST_HEADER = 100_000_000
_MAGIC = (
    (b'version https://git-lfs', 'is a Git LFS pointer, not the weights; run git lfs pull in its repository'),
    (b'\x1f\x8b', 'is a gzip archive; unpack it first'),
    (b'BZh', 'is a bzip2 archive; unpack it first'),
    (b'\xfd7zXZ', 'is an xz archive; unpack it first'),
    (b'\x89HDF', 'is an HDF5 file (of Keras?); convert it to PyTorch first'),
    (b'\x93NUMPY', 'is a NumPy array, not a state dict'),
    (b'\x89PNG', 'is a picture'),
    (b'\xff\xd8\xff', 'is a picture'),
)


def container(path: Union[str, Path]) -> str:
    """Returns the format in which a checkpoint is stored.

    Args:
        path: The file.

    Returns:
        'safetensors', 'zip' (``torch.save``) or 'pickle' (``torch.save`` before PyTorch 1.6).

    Raises:
        CheckpointError: The file has another format or is truncated; the message says what it is.
    """
    path = Path(path)
    size = path.stat().st_size
    with open(path, 'rb') as file:
        head = file.read(_HEADER)
    if not head:
        raise CheckpointError(f'{path} is empty; fetch or save it again')
    for magic, problem in _MAGIC:
        if head.startswith(magic):
            raise CheckpointError(f'{path} {problem}')
    if head.lstrip(b'\xef\xbb\xbf \t\r\n')[:1] == b'<':
        raise CheckpointError(f'{path} is an HTML or XML page saved under this name, not a checkpoint; the download '
                              'went to a log-in or error page, so fetch the file itself')
    if head[:4] == b'PK\x03\x04':
        return _zip(path)
    if len(head) > 8 and head[8:9] == b'{':
        return _safetensors(path, head, size)
    if head[:1] in b'{[':
        raise CheckpointError(f'{path} is a text or JSON file, not a checkpoint; give the file with the weights')
    if head[257:262] == b'ustar':
        raise CheckpointError(f'{path} is a tar archive; unpack it first')
    if head[:2] in (b'\x80\x02', b'\x80\x03', b'\x80\x04', b'\x80\x05'):
        return 'pickle'
    raise CheckpointError(f'{path} begins with {head[:8]!r}, which is neither a PyTorch checkpoint nor safetensors')


def _zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise CheckpointError(f'{path} is cut off: its table of contents is missing ({error}); '
                              'fetch or save it again') from error
    if any(name.split('/')[-1] == 'constants.pkl' for name in names):
        raise CheckpointError(f'{path} is a TorchScript program, which runs code when loaded; save its weights alone: '
                              "torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), 'weights.pth')")
    if not any(name.split('/')[-1] == 'data.pkl' for name in names):
        raise CheckpointError(f'{path} is a ZIP archive of {", ".join(names[:3])} ..., not a PyTorch checkpoint; '
                              'unpack it first')
    return 'zip'


def _safetensors(path: Path, head: bytes, size: int) -> str:
    length = struct.unpack('<Q', head[:8])[0]
    if length > _LARGEST_HEADER:
        raise CheckpointError(f'{path} begins like safetensors, but its header would have {length} bytes; '
                              'it is damaged, so fetch it again')
    with open(path, 'rb') as file:
        file.seek(8)
        text = file.read(length)
    try:
        if len(text) < length:
            raise ValueError('the header is cut off')
        entries = json.loads(text.decode('utf-8'))
        ends = [value['data_offsets'][1] for name, value in entries.items() if name != '__metadata__']
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f'{path} begins like safetensors, but its header cannot be read ({error}); '
                              'it is damaged, so fetch it again') from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise CheckpointError(f'{path} has {size} bytes, its header says {expected}: it is '
                              f'{"cut off" if size < expected else "damaged"}, so fetch it again')
    return 'safetensors'
