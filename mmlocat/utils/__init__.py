"""Provides small helpers that every package of mmlocat may use; importing them loads nothing heavy.

``arguments``: what command lines of several tools take; ``first_screen``: what a command shows first; ``files``: atomic
writing, hashes, the shipped files; ``kept_rows``: what an interrupted measurement leaves to the next; ``machine``: what
a figure was measured on; ``names``: near names; ``requirements``: missing packages; ``tables``: tables on screen and in
files; ``terminal``: code that command lines share.
"""

from .files import atomic_write, check_folder, sha256, share_folder, staged
from .first_screen import open_screen
from .names import near_names, suggestion
from .requirements import require_modules, require_openmmlab
from .terminal import add_trust_option, first_line, stoppable, with_progress

__all__ = [
    'add_trust_option', 'atomic_write', 'check_folder', 'first_line', 'near_names', 'open_screen', 'require_modules',
    'require_openmmlab', 'sha256', 'share_folder', 'staged', 'stoppable', 'suggestion', 'with_progress'
]
