"""Measures the search for neighbours in a large memory: blocks beside the whole matrix, and FAISS if it is there."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional

import torch
from torch.nn.functional import normalize

from mmlocat.evaluation import nearest
from mmlocat.utils.kept_rows import Call, measure_now

from .measure import Ratio, in_fresh_process, in_turns, peak_growth


class Search(NamedTuple):
    """Time of a way to search, its ratio to that with the whole matrix, and its peak memory in MiB."""

    name: str
    time: Ratio
    extra: Optional[float]


def measure(rows: int, queries: int, channels: int, num_neighbours: int, seconds: float,
            call: Call = measure_now) -> Iterator[Search]:
    """Times every way in turns on a CPU, then measures the memory of each in a process of its own.

    Args:
        rows: Of the memory.
        queries: Number of queries.
        channels: Of a feature.
        num_neighbours: Neighbours of a query.
        seconds: Time for the turns.
        call: Calls each measurement, the time of all and the memory of one; ``KeptRows.call`` keeps what it gives.
    """
    case = (rows, queries, channels, num_neighbours)
    key = dict(case=case, seconds=seconds, ways=_backends())
    times = call(key, lambda: in_turns(_ways(*case), 'whole matrix', 'cpu', seconds))
    for name, time in times.items():
        extra = call(dict(key, memory_of=name), partial(in_fresh_process, _extra, name, *case))
        yield Search(name, Ratio(*time), extra)


def _backends() -> List[str]:
    return ['torch', *(['faiss'] if importlib.util.find_spec('faiss') else [])]


def _ways(rows: int, queries: int, channels: int, num_neighbours: int) -> Dict[str, Callable]:
    generator = torch.Generator().manual_seed(0)
    memory, asked = (normalize(torch.randn(count, channels, generator=generator), dim=1) for count in (rows, queries))
    return {'whole matrix': lambda: (asked @ memory.T).topk(num_neighbours, dim=1),
            **{name: partial(nearest, memory, asked, num_neighbours, name) for name in _backends()}}


def _extra(name: str, *case: int) -> Optional[float]:
    growth, _ = peak_growth(_ways(*case)[name], 'cpu')
    return None if growth is None else growth / 2**20
