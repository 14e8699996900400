"""Prepares a training checkpoint for publishing: keeps weights and metadata, and puts their hash into the name."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Tuple, Union

import torch

from mmlocat.checkpoints.errors import CheckpointError
from mmlocat.checkpoints.reader import read_checkpoint
from mmlocat.utils import atomic_write, check_folder


def publish(source: str, target: Union[str, Path], *, trust_pickle: bool = False) -> Tuple[Path, Tuple[str, ...]]:
    """Writes weights and metadata of a checkpoint to a file whose name ends in the first digits of its SHA-256.

    Args:
        source: A checkpoint of MMEngine's, such as epoch_300.pth.
        target: The name to publish under, ending in .pth; 'model.pth' becomes 'model-1234abcd.pth'.
        trust_pickle: Whether a pickle may hold anything; it can run code.

    Returns:
        The file written, and the keys that were left out, such as the optimizer's.

    Raises:
        CheckpointError: The source cannot be read.
        FileNotFoundError: The source does not exist.
        ValueError: The target does not end in .pth.
    """
    target = Path(target)
    if target.suffix != '.pth':
        raise ValueError(f'{target} must end in .pth')
    check_folder('the folder of the target', target.parent)
    checkpoint = read_checkpoint(source, trust_pickle=trust_pickle)
    if checkpoint.nesting not in ('', 'state_dict'):
        raise CheckpointError(f'{source} has its weights under {checkpoint.nesting!r}, so it is none of MMEngine; '
                              'tools/weights/convert.py reads it')
    left_out = tuple(key for key in checkpoint.whole if key not in ('meta', 'state_dict')) if checkpoint.nesting else ()
    buffer = io.BytesIO()
    torch.save(dict(meta=checkpoint.meta, state_dict=checkpoint.state_dict), buffer)
    stem = re.sub(r'-[0-9a-f]{8}$', '', target.stem)
    final = target.with_name(f'{stem}-{hashlib.sha256(buffer.getbuffer()).hexdigest()[:8]}.pth')
    with atomic_write(final, 'wb') as file:
        file.write(buffer.getbuffer())
    return final, left_out
