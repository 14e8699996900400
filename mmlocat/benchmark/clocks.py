"""Times one call, by the computer's clock or by a GPU's own events, and records calls as CUDA graphs."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict

import torch

Call = Callable[[], Any]
Clock = Callable[[Call], float]
# Bytes written before a GPU is timed: more than any second-level cache holds, so no contender finds its inputs there.
_FLUSH = 256 << 20


def wall_clock(run: Call) -> float:
    """Calls ``run`` once and returns the seconds by the computer's clock."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


class EventClock:
    """Times a call by two CUDA events, after a write that clears the GPU's second-level cache.

    Short calls are timed several in a row, as a training issues them, so that the cost of launching shows only if it
    exceeds that of the kernels. How many in a row is decided when a call is first timed.

    Args:
        device: A CUDA device, the current one.
        most: The largest number of calls in a row; 1 for the replay of a CUDA graph, which is one launch and so finds a
            cold cache each time.
        fill: About how many seconds the calls in a row should take.
    """

    def __init__(self, device: str, most: int = 20, fill: float = 1e-3) -> None:
        self._device, self._most, self._fill = device, most, fill
        self._flush = torch.empty(_FLUSH, dtype=torch.int8, device=device)
        self._calls: Dict[Call, int] = {}

    def __call__(self, run: Call) -> float:
        """Calls ``run`` a few times in a row and returns the seconds of one call."""
        if run not in self._calls:
            run()  # compiles kernels, fills the allocator's pool
            alone = min(self._elapsed(run, 1) for _ in range(2))
            self._calls[run] = max(1, min(self._most, int(self._fill / max(alone, 1e-6))))
        return self._elapsed(run, self._calls[run])

    def _elapsed(self, run: Call, calls: int) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(self._device)
        self._flush.zero_()
        begin.record()
        for _ in range(calls):
            run()
        end.record()
        torch.cuda.synchronize(self._device)
        return begin.elapsed_time(end) / 1e3 / calls


def clock_for(device: str, graphs: bool = False) -> Clock:
    """Returns the clock for a device.

    Args:
        device: Such as 'cpu' or 'cuda'.
        graphs: Whether the calls will be replays of CUDA graphs.
    """
    return EventClock(device, most=1 if graphs else 20) if device.startswith('cuda') else wall_clock


def captured(run: Call) -> Call:
    """Returns a function that replays a call as a CUDA graph: its kernels, without the cost of launching each of them.

    Args:
        run: The call to record; it has run before, and allocates nothing that must outlive a replay.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # a warm-up on another stream, as PyTorch asks before a capture
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
