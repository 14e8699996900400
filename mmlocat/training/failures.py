"""How a training or test that fails says so: all of it in the log, and the log's path last."""

from __future__ import annotations

import logging
import sys
from typing import Optional

from mmengine.logging import MMLogger

from .nonfinite import NonFiniteError
from .saving import CheckpointNotSaved

# Their messages say what happened and what to do; a traceback would say where in the code, which helps nobody.
_SPEAK_FOR_THEMSELVES = (CheckpointNotSaved, NonFiniteError)


def log_file() -> Optional[str]:
    """Returns the path of this process's log; None before it has one, and in all processes but the first."""
    files = [handler.baseFilename for handler in MMLogger.get_current_instance().handlers
             if isinstance(handler, logging.FileHandler)]
    return files[0] if files else None


def report_failure(error: Exception) -> None:
    """Writes an error into the log and, as the last line on stderr, where that is.

    Args:
        error: What ended the job.
    """
    known = isinstance(error, _SPEAK_FOR_THEMSELVES)
    message = str(error) if known else f'{type(error).__name__}: {error}'
    MMLogger.get_current_instance().error(message, exc_info=None if known else error)
    if str(error).startswith('Caught '):  # in a worker of a data loader, with its whole traceback
        message = message.rstrip().splitlines()[-1]
    message = message.rstrip('.') + '.'
    path = log_file()
    print(f'Error: {message}{f" The log: {path}" if path else ""}', file=sys.stderr, flush=True)
