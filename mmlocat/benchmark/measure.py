"""Times contenders in turns (medians, ratios, quartiles), and measures peak memory in a fresh process."""

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
    """The time of one contender, and its ratio to the baseline of the same run."""

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
    """Runs every contender once a turn, so that whatever slows the machine down slows all of them.

    Every turn has a new order, so that no contender always finds the caches as the same other one leaves them.

    Args:
        contenders: What to call, by name.
        device: Selects the clock: a GPU's own events, else the computer's clock.
        seconds: Turns go on until this much time has passed.
        min_turns: The least number of turns, after one that is not counted.
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
    """Compares a contender's seconds with the baseline's of the same turns."""
    low, _, high = statistics.quantiles([mine / other for mine, other in zip(own, base)], n=4)
    median = statistics.median(own)
    return Ratio(median, median / statistics.median(base), low, high, len(own))


def in_turns(contenders: Mapping[Name, Callable[[], Any]], baseline: Name, device: str, seconds: float,
             min_turns: int = 3, graphs: bool = False) -> Dict[Name, Ratio]:
    """Runs contenders in turns and compares each with one of them, the baseline.

    Args:
        contenders: What to call, by name.
        baseline: The contender that ratios refer to.
        device: See ``take_turns``.
        seconds: See ``take_turns``.
        min_turns: See ``take_turns``.
        graphs: See ``take_turns``.

    Returns:
        Medians and ratios by name.
    """
    times = take_turns(contenders, device, seconds, min_turns, graphs)
    return {name: compare(own, times[baseline]) for name, own in times.items()}


def results(case: Any, mode: str, runs: Mapping[str, Callable[[], Any]], baseline: str, seconds: float,
            memory: Optional[Callable[[Any, str, str], Optional[float]]] = None) -> List[Result]:
    """Times contenders in turns, and measures the memory of each in its own process.

    Args:
        case: What is measured; it has a ``device``.
        mode: Such as 'forward'.
        runs: What to call, by name.
        baseline: The contender that ratios refer to.
        seconds: Time for the turns.
        memory: A module-level function of case, mode and name that returns MiB. None leaves memory out.
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
    """Returns the peak growth of memory during a call, in bytes, and what the call returned.

    On a CPU the resident set is measured, whose peak Linux records and lets one reset; None on other systems.
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
    _CLEAR.write_text('5')  # resets the peak to the present resident set
    before = _resident('VmRSS')
    result = run()
    return _resident('VmHWM') - before, result


def in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a module-level function in a new interpreter, whose memory nothing else has used."""
    with get_context('spawn').Pool(1) as pool:
        return pool.apply(function, args)
