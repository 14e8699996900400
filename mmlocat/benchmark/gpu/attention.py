"""Measures attention for the report: errors of back-ends against the oracle, their time and their memory."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, Sequence

import torch

from mmlocat.attention import available_backends
from mmlocat.utils import first_line

from ..attention import PASSES, PLAIN, TOLERANCE, Case, Inputs, errors, flash_first, reason_against, taken_by_auto
from ..clocks import captured
from ..measure import in_turns, peak_growth
from .worker import Job

EAGER, GRAPH = 'eager', 'CUDA graph'
BOTH = PASSES[1]
Row = Dict[str, Any]


def parity(job: Job) -> None:
    """Compares every back-end in every dtype with the oracle in float64, output and gradients of all inputs."""
    for case in job.plan.parity:
        case = case._replace(device=job.device)
        for name in available_backends():
            shown = dict(backend=name, **case.shown)
            job.attempt(shown, 1, _compare_with_oracle, job, case, name, shown)


def _compare_with_oracle(job: Job, case: Case, name: str, shown: Row) -> None:
    reason = reason_against(case, BOTH, name)
    if reason:
        job.row(shown, problem=f'cannot run: {reason}')
        return
    (_, (output, *gradients)), = errors(case, [name], BOTH)
    for_output, for_gradients = TOLERANCE[getattr(torch, case.dtype)]
    if name == 'auto':
        shown = dict(shown, takes=taken_by_auto(case, BOTH))
    job.row(shown, output=output, gradients=max(gradients), output_allowed=for_output, gradients_allowed=for_gradients,
            ok=output <= for_output and max(gradients) <= for_gradients)


def speed(job: Job) -> None:
    """Times attention against plain attention in turns, eagerly and as CUDA graphs."""
    _each_case(job, 2 * job.plan.seconds, _race_twice)


def memory(job: Job) -> None:
    """Measures the peak growth of memory during a call, output and gradients included."""
    _each_case(job, 1, _memory_of_each)


def _each_case(job: Job, needs: float, measure: Callable[..., None]) -> None:
    with flash_first():
        for case, rivals in job.plan.attention.items():
            case = case._replace(device=job.device)
            for passes in PASSES:
                shown = dict(case.shown, passes=passes)
                job.attempt(shown, needs, measure, job, case, passes, (PLAIN, *rivals), shown)


def _race_twice(job: Job, case: Case, passes: str, names: Sequence[str], shown: Row) -> None:
    inputs = Inputs(case)
    for launch in (EAGER, GRAPH) if case.device.startswith('cuda') else (EAGER, ):
        _race(job, inputs, passes, names, {**shown, 'launch': launch})


def _race(job: Job, inputs: Inputs, passes: str, names: Sequence[str], shown: Row) -> None:
    """Times contenders in turns; one that fails gets a row with the reason, and the others go on."""
    able, graphs = {}, shown['launch'] == GRAPH
    for name in names:
        run = partial(inputs.run, name, passes)
        try:
            run()
            able[name] = captured(run) if graphs else run
        except Exception as error:  # a kernel, a compiler or the allocator may raise anything
            if name == PLAIN:
                raise
            job.row({**shown, 'backend': name}, problem=f'failed: {type(error).__name__}: {first_line(error)}')
    times = in_turns(able, PLAIN, job.device, job.plan.seconds, 3 if job.plan.small else 7, graphs)
    for name, ratio in times.items():
        job.time_row({**shown, 'backend': name}, ratio)


def _memory_of_each(job: Job, case: Case, passes: str, names: Sequence[str], shown: Row) -> None:
    plain = None
    for name in names:
        reason = reason_against(case, passes, name)
        if reason:
            job.row({**shown, 'backend': name}, problem=f'cannot run: {reason}')
            continue
        run = partial(Inputs(case).run, name, passes)
        run()  # so that kernels and workspaces, which stay allocated, are not counted
        growth, _ = peak_growth(run, job.device)
        plain = growth if name == PLAIN else plain
        job.row({**shown, 'backend': name}, mib=None if growth is None else growth / 2**20,
                ratio=growth / plain if growth is not None and plain else None)
