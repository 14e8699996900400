"""Times contenders in turns (medians, ratios, quartiles), and measures peak memory in a fresh process."""

from __future__ import annotations

import gc
import random
import statistics
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

import torch

_STATUS = Path('/proc/self/status')
_CLEAR = Path('/proc/self/clear_refs')
_MIN_TURNS = 3
# Bytes written before a GPU is timed: more than any second-level cache holds, so no contender finds its inputs there.
_FLUSH = 256 << 20
Call = Callable[[], Any]


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


def _seconds_of(run: Call, device: str) -> float:
    """Times one call: by the computer's clock, or by a GPU's events after its second-level cache was flushed."""
    if not device.startswith('cuda'):
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.empty(_FLUSH, dtype=torch.int8, device=device).zero_()
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / 1e3


def in_turns(contenders: Mapping[Any, Call], baseline: Any, device: str, seconds: float) -> Dict[Any, Ratio]:
    """Runs every contender once a turn, so that whatever slows the machine down slows all of them.

    Every turn has a new order, so that no contender always finds the caches as the same other one leaves them. One
    call of each before the first turn is not counted.

    Args:
        contenders: What to call, by name.
        baseline: The contender that ratios refer to.
        device: Selects the clock: a GPU's own events, else the computer's clock.
        seconds: Turns go on until this much time has passed, at least three.

    Returns:
        Medians and ratios by name.
    """
    for run in contenders.values():
        run()
    times: Dict[Any, List[float]] = {name: [] for name in contenders}
    order, shuffle = list(contenders.items()), random.Random(0).shuffle
    begin = time.perf_counter()
    while len(times[baseline]) < _MIN_TURNS or time.perf_counter() - begin < seconds:
        shuffle(order)
        for name, run in order:
            times[name].append(_seconds_of(run, device))
    ratios, base = {}, times[baseline]
    for name, own in times.items():
        low, _, high = statistics.quantiles([mine / other for mine, other in zip(own, base)], n=4)
        median = statistics.median(own)
        ratios[name] = Ratio(median, median / statistics.median(base), low, high, len(own))
    return ratios


def race(own: Call, base: Call, device: str, seconds: float, with_memory: bool = True) -> Dict[str, Any]:
    """Times a call in turns with its baseline, and on a GPU compares by how much memory grows in either.

    Returns:
        The figures by name, as the GPU report shows them.
    """
    times = in_turns(dict(own=own, base=base), 'base', device, seconds)
    found = dict(ms=times['own'].seconds * 1e3, baseline_ms=times['base'].seconds * 1e3, ratio=times['own'].ratio,
                 low=times['own'].low, high=times['own'].high, turns=times['own'].turns)
    if with_memory and device.startswith('cuda'):
        mib, baseline_mib = (peak_growth(run, device)[0] / 2**20 for run in (own, base))
        found.update(mib=mib, baseline_mib=baseline_mib, memory_ratio=mib / baseline_mib)
    return found


def results(case: Any, mode: str, runs: Mapping[str, Call], baseline: str, seconds: float,
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
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def peak_growth(run: Call, device: str) -> Tuple[Optional[int], Any]:
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
