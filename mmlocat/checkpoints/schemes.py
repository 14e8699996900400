"""Our reader inside MMEngine: for what it cannot read in any process, for all of it in the tools' own."""

from __future__ import annotations

import os
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from .reader import Checkpoint, read_checkpoint

# MMEngine matches with re.match and tries the alphabetically last first: 'https?' comes before its own 'https://'.
_ADDED = ('hf://', 'timm://', r'https?://.*\.safetensors$', r'.*\.safetensors$')
_REPLACED = ('', 'http://', 'https://')


def _for_mmengine(checkpoint: Checkpoint) -> dict:
    """Returns what MMEngine expects of a loader: all of a training checkpoint, or weights under 'state_dict'."""
    if isinstance(checkpoint.whole, dict) and checkpoint.nesting == 'state_dict':
        return {**checkpoint.whole, 'state_dict': checkpoint.state_dict}
    return dict(state_dict=checkpoint.state_dict, meta=checkpoint.meta)


def load_from_mmlocat(filename: str, map_location: Any = None) -> dict:
    """Loader for MMEngine, which prints its name: reads by content, and plain data alone."""
    trust = os.environ.get('MMLOCAT_TRUST_PICKLE', '') == '1'
    return _for_mmengine(read_checkpoint(filename, trust_pickle=trust, map_location=map_location or 'cpu'))


def register_schemes() -> None:
    """Makes MMEngine read 'hf://', 'timm://' and names that end in '.safetensors'; ``mmlocat.models`` calls it.

    What it reads without us, pickles above all, goes on as before: MMEngine unpickles anything there.
    """
    CheckpointLoader.register_scheme(_ADDED, loader=load_from_mmlocat, force=True)


def install_reader(trust_pickle: bool = False) -> None:
    """Makes MMEngine read every file and web address through ``read_checkpoint`` in this process.

    Inside ``mmlocat.checkpoints.reading_once`` MMEngine gets what was read there before.

    Args:
        trust_pickle: Whether pickles may hold anything; also for processes started from this one.
    """
    register_schemes()
    CheckpointLoader.register_scheme(_REPLACED, loader=load_from_mmlocat, force=True)
    if trust_pickle:
        os.environ['MMLOCAT_TRUST_PICKLE'] = '1'
