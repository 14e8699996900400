"""Checkpoints: found and read without running code, and their names translated.

``schemes.py`` alone needs MMEngine; ``convert.py`` and ``publish.py`` are what ``tools/weights/`` call.
"""

from .errors import CheckpointError
from .names import detect_format, to_mmlocat_names, to_timm_names, translate
from .reader import Checkpoint, read_checkpoint

__all__ = [
    'Checkpoint', 'CheckpointError', 'detect_format', 'read_checkpoint', 'to_mmlocat_names', 'to_timm_names',
    'translate'
]
