"""Finds and reads checkpoints without running code, and translates their names; it needs no OpenMMLab package."""

from .errors import CheckpointError
from .names import detect_format, to_mmlocat_names, to_timm_names, translate
from .reader import Checkpoint, read_checkpoint, reading_once

__all__ = [
    'Checkpoint', 'CheckpointError', 'detect_format', 'read_checkpoint', 'reading_once', 'to_mmlocat_names',
    'to_timm_names', 'translate'
]
