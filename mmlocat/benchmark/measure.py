"""Measures side by side: runs in turns, medians with quartiles, and peak memory in a fresh process."""

from __future__ import annotations

import gc
import random
import statistics
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Callable, Dict, Hashable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, TypeVar

import torch

from .clocks import clock_for

_STATUS = Path('/proc/self/status')
_CLEAR = Path('/proc/self/clear_refs')
Name = TypeVar('Name', bound=Hashable)


class Ratio(NamedTuple):
    """One contender against the baseline of the same run."""

    seconds: float  # median
    ratio: float  # median over the baseline's median
    low: float  # quartiles of the ratio, turn by turn
    high: float
    turns: int


class Result(NamedTuple):
    """One row of a table: a case, a mode (such as 'forward') and a contender."""

    case: Any
    mode: str
    name: str
    time: Ratio
    extra: Optional[float]  # MiB; None where it was not measured


def take_turns(contenders: Mapping[Name, Callable[[], Any]], device: str, seconds: float, min_turns: int = 3,
               graphs: bool = False) -> Dict[Name, List[float]]:
    """Runs every contender once a turn, so that what slows the machine down slows all of them.

    Each turn has an order of its own, so that none always finds the caches that the same other leaves behind.

    Args:
        contenders: What to call, by name.
        device: Its clock is used: a GPU's own events, else the computer's clock.
        seconds: Turns go on until so much time has passed.
        min_turns: But there are at least so many, after one that is not counted.
        graphs: Whether the calls are replays of CUDA graphs.

    Returns:
        The seconds of every turn by name.
    """
    clock = clock_for(device, graphs)
    times: Dict[Name, List[float]] = {name: [] for name in contenders}
    order, shuffle = list(contenders.items()), random.Random(0).shuffle
    begin, turns = None, 0
    while begin is None or turns < min_turns or time.perf_counter() - begin < seconds:
        shuffle(order)
        for name, run in order:
            taken = clock(run)
            if begin is not None:
                times[name].append(taken)
        turns += begin is not None
        begin = begin or time.perf_counter()
    return times


def compare(own: Sequence[float], base: Sequence[float]) -> Ratio:
    """Returns median and ratio of a contender's turns, against a baseline's of the same turns."""
    low, _, high = statistics.quantiles([mine / other for mine, other in zip(own, base)], n=4)
    median = statistics.median(own)
    return Ratio(median, median / statistics.median(base), low, high, len(own))


def in_turns(contenders: Mapping[Name, Callable[[], Any]], baseline: Name, device: str, seconds: float,
             min_turns: int = 3, graphs: bool = False) -> Dict[Name, Ratio]:
    """Runs contenders in turns and compares each with one of them.

    Args:
        contenders: What to call, by name.
        baseline: The name that ratios refer to.
        device: See ``take_turns``, also for the others.
        seconds: Turns go on until so much time has passed.
        min_turns: But there are at least so many.
        graphs: Whether the calls are replays of CUDA graphs.

    Returns:
        Medians and ratios by name.
    """
    times = take_turns(contenders, device, seconds, min_turns, graphs)
    return {name: compare(own, times[baseline]) for name, own in times.items()}


def results(case: Any, mode: str, runs: Mapping[str, Callable[[], Any]], baseline: str, seconds: float,
            memory: Optional[Callable[[Any, str, str], Optional[float]]] = None) -> List[Result]:
    """Measures contenders in turns, and the memory of each in a process of its own.

    Args:
        case: What is measured; it names a ``device``.
        mode: Such as 'forward'.
        runs: What to call, by name.
        baseline: The name that ratios refer to.
        seconds: Time for the turns.
        memory: Measures MiB from case, mode and name; a function of a module. Not measured without.
    """
    times = in_turns(runs, baseline, case.device, seconds)
    return [Result(case, mode, name, time, in_fresh_process(memory, case, mode, name) if memory else None)
            for name, time in times.items()]


def _resident(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f'{_STATUS} has no {field}')


def peak_growth(run: Callable[[], Any], device: str) -> Tuple[Optional[int], Any]:
    """Returns by how many bytes memory grew at most during a call, and what the call returned.

    On a CPU it is the resident set, for which Linux keeps a peak that can be reset; None on other systems.
    """
    gc.collect()
    if device.startswith('cuda'):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before, result
    if not _CLEAR.exists():
        return None, run()
    _CLEAR.write_text('5')  # resets the peak to what is resident now
    before = _resident('VmRSS')
    result = run()
    return _resident('VmHWM') - before, result


def in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function of a module in a new interpreter, whose memory nothing else has used."""
    with get_context('spawn').Pool(1) as pool:
        return pool.apply(function, args)
