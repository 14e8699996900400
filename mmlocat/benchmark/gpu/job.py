"""What a part of the report gets: its plan, its time, and where its rows go."""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

from mmlocat.utils import first_line

from .plan import Plan

Row = Dict[str, Any]
NO_TIME = 'not measured: no time was left'


class Job:
    """The work of one part.

    Args:
        plan: The cases of this run.
        device: Such as 'cpu' or 'cuda'.
        seconds: Until the part should be done.
        send: Takes each row as it comes.
    """

    def __init__(self, plan: Plan, device: str, seconds: float, send: Callable[[Row], None]) -> None:
        self.plan, self.device = plan, device
        self._deadline = time.monotonic() + seconds
        self._send = send

    def left(self) -> float:
        """Returns the seconds that the part still has."""
        return self._deadline - time.monotonic()

    def row(self, case: Mapping[str, Any], **found: Any) -> None:
        """Hands over a row: what was measured, and what was found."""
        self._send({**case, **found})

    @contextmanager
    def case(self, case: Mapping[str, Any], needs: float = 0) -> Iterator[Optional[bool]]:
        """Holds what belongs to one case: where it fails, a row says so and the part goes on.

        Yields whether there is time for it; where there is none, a row says that.

        Args:
            case: What is measured.
            needs: The seconds it takes, at a guess.

        Raises:
            RuntimeError: The GPU cannot be used any more, so that nothing more can be measured in this process.
        """
        if self.left() < needs:
            self.row(case, problem=NO_TIME)
            yield False
            return
        try:
            yield True
        except Exception as error:  # whatever a kernel, a compiler or a model may raise
            self.row(case, problem=f'failed: {type(error).__name__}: {first_line(error)}')
            self._check_device()
        finally:
            self._free()

    def _check_device(self) -> None:
        if self.device.startswith('cuda'):
            import torch
            torch.cuda.synchronize(self.device)  # raises again what made the device unusable

    def _free(self) -> None:
        gc.collect()
        if self.device.startswith('cuda'):
            import torch
            torch.cuda.empty_cache()
