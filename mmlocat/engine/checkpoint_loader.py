"""Makes MMEngine use our reader for sources that it cannot read itself or, in jobs that ask for it, for all sources."""

from __future__ import annotations

import os
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader, load_from_local

from mmlocat.checkpoints import read_checkpoint

# MMEngine matches with re.match and tries the alphabetically last prefix first: 'https?' before its own 'https://'.
_ADDED = ('hf://', 'timm://', r'https?://.*\.safetensors$', r'.*\.safetensors$')


def load_from_mmlocat(filename: str, map_location: Any = None) -> dict:
    """Loads a checkpoint for MMEngine, which prints this function's name; reads plain data only, unless trusted."""
    trust = os.environ.get('MMLOCAT_TRUST_PICKLE', '') == '1'
    checkpoint = read_checkpoint(filename, trust_pickle=trust, map_location=map_location or 'cpu')
    if isinstance(checkpoint.whole, dict) and checkpoint.nesting == 'state_dict':
        return {**checkpoint.whole, 'state_dict': checkpoint.state_dict}  # a training checkpoint
    return dict(state_dict=checkpoint.state_dict, meta=checkpoint.meta)


def load_from_path(filename: str, map_location: Any = None) -> dict:
    """Loads a folder of the hub by our reader, and a file by MMEngine's."""
    load = load_from_mmlocat if os.path.isdir(os.path.expanduser(filename)) else load_from_local
    return load(filename, map_location)


def register_schemes() -> None:
    """Makes MMEngine read 'hf://', 'timm://', '.safetensors' and folders of the hub; ``mmlocat.models`` calls it.

    All other sources, pickles above all, are read by MMEngine as before, which unpickles any type; by our reader in a
    process that has installed it for all sources.
    """
    CheckpointLoader.register_scheme(_ADDED, loader=load_from_mmlocat, force=True)
    if CheckpointLoader._schemes.get('') is not load_from_mmlocat:  # private; the same in 0.10.3 to 0.10.12
        CheckpointLoader.register_scheme('', loader=load_from_path, force=True)


def install_reader(trust_pickle: bool = False) -> None:
    """Makes MMEngine read every file and web address through ``read_checkpoint`` in this process.

    Args:
        trust_pickle: Whether pickles may hold any type; also for processes started from this one. It holds until the
            next call.
    """
    CheckpointLoader.register_scheme((*_ADDED, '', 'http://', 'https://'), loader=load_from_mmlocat, force=True)
    os.environ['MMLOCAT_TRUST_PICKLE'] = '1' if trust_pickle else '0'
