"""The parts about attention: how far back-ends are from the oracle, their time and their memory."""

from __future__ import annotations

from typing import Any, Callable, Dict

from mmlocat.attention import available_backends
from mmlocat.utils import first_line

from ..attention import PASSES, PLAIN, TOLERANCE, Case, Inputs, errors, flash_first, reason_against, taken_by_auto
from ..clocks import captured, clock_for
from ..measure import compare, peak_growth, take_turns
from .job import Job

EAGER, GRAPH = 'eager', 'CUDA graph'
BOTH = PASSES[1]


def parity(job: Job) -> None:
    """Compares every back-end in every dtype with the oracle in float64, output and gradients of all inputs."""
    import torch
    plan = job.plan
    for dtype in plan.dtypes:
        for grid, heads in plan.parity_grids:
            case = Case(grid, heads, plan.head_dims, dtype, job.device)
            for name in available_backends():
                shown = dict(backend=name, dtype=dtype, grid=case.shown_grid, heads=heads)
                with job.case(shown, needs=1) as go:
                    if not go:
                        continue
                    reason = reason_against(case, BOTH, name)
                    if reason:
                        job.row(shown, problem=f'cannot run: {reason}')
                        continue
                    (_, found), = errors(case, [name], BOTH)
                    allowed = TOLERANCE[getattr(torch, dtype)]
                    if name == 'auto':
                        shown['takes'] = taken_by_auto(case, BOTH)
                    job.row(shown, output=found[0], gradients=max(found[1:]), output_allowed=allowed[0],
                            gradients_allowed=allowed[1],
                            ok=found[0] <= allowed[0] and max(found[1:]) <= allowed[1])


def _cases(job: Job):
    """Yields the cases of attention with what a row says about each."""
    plan = job.plan
    for item in plan.attention:
        case = Case(item.grid, plan.heads, plan.head_dims, plan.dtype, job.device, item.batch)
        for passes in PASSES:
            yield case, passes, item.rivals, dict(
                grid=case.shown_grid, batch=item.batch, heads=plan.heads, dtype=plan.dtype, passes=passes)


def speed(job: Job) -> None:
    """Times attention against plain attention in turns, eagerly and as CUDA graphs."""
    with flash_first():
        for case, passes, rivals, shown in _cases(job):
            with job.case(shown, needs=2 * job.plan.seconds) as go:
                if go:
                    inputs = Inputs(case)
                    runs = {name: inputs.runner(name, passes) for name in (PLAIN, *rivals)}
                    for launch in (EAGER, GRAPH) if case.device.startswith('cuda') else (EAGER, ):
                        _race(job, {**shown, 'launch': launch}, runs, launch == GRAPH)


def _race(job: Job, shown: Dict[str, Any], runs: Dict[str, Callable[[], Any]], graphs: bool) -> None:
    """Times contenders in turns; one that fails gets a row that says why, and the others go on."""
    able = {}
    for name, run in runs.items():
        try:
            run()
            able[name] = captured(run) if graphs else run
        except Exception as error:  # what a kernel, a compiler or the allocator may raise
            if name == PLAIN:
                raise
            job.row({**shown, 'backend': name}, problem=f'failed: {type(error).__name__}: {first_line(error)}')
    times = take_turns(able, clock_for(job.device, graphs), job.plan.seconds, min_turns=3 if job.plan.small else 7)
    for name, own in times.items():
        result = compare(own, times[PLAIN])
        job.row({**shown, 'backend': name}, ms=result.seconds * 1e3, ratio=result.ratio, low=result.low,
                high=result.high, turns=len(own))


def memory(job: Job) -> None:
    """Measures by how much memory grows at most during a call, output and gradients included."""
    with flash_first():
        for case, passes, rivals, shown in _cases(job):
            with job.case(shown, needs=1) as go:
                if not go:
                    continue
                plain = None
                for name in (PLAIN, *rivals):
                    reason = reason_against(case, passes, name)
                    if reason:
                        job.row({**shown, 'backend': name}, problem=f'cannot run: {reason}')
                        continue
                    inputs = Inputs(case)
                    inputs.run(name, passes)  # kernels and workspaces that stay are not of the call
                    growth, _ = peak_growth(inputs.runner(name, passes), job.device)
                    plain = growth if name == PLAIN else plain
                    job.row({**shown, 'backend': name}, mib=None if growth is None else growth / 2**20,
                            ratio=growth / plain if growth is not None and plain else None)
