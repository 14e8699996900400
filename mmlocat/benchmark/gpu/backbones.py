"""Measures whole backbones for the report: LocAtViT beside MMPretrain's ViT, eager and compiled."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Sequence

import torch
from torch import nn

from ..backbone import BASELINE, MODES, OURS, Case, build, check_parity, random_images, runner
from ..measure import compare, in_turns, peak_growth, take_turns
from .worker import Job

EAGER, BLOCKS, WHOLE = 'eager', 'compiled blocks', 'compiled whole'
Compile = Callable[[nn.Module, str], nn.Module]
Row = Dict[str, Any]
_MIN_TURNS = 5


def _each_case(job: Job, cases: Sequence[Case], execution: str, needs: float, measure: Callable[..., None],
               *args: Any) -> None:
    for case in cases:
        case = case._replace(device=job.device)
        for mode in MODES:
            shown = dict(case.shown, mode=mode, execution=execution)
            job.attempt(shown, needs, measure, job, case, mode, shown, *args)


def eager(job: Job) -> None:
    """Times inference and training steps in turns, and measures how much memory grows in one call."""
    _each_case(job, job.plan.backbones, EAGER, 2 * job.plan.backbone_seconds, _race_eager, set())


def _race_eager(job: Job, case: Case, mode: str, shown: Row, checked: set) -> None:
    if case.arch not in checked:
        check_parity(case)
        checked.add(case.arch)
    images = random_images(case)
    runs = {name: runner(build(name, case), images, mode) for name in (BASELINE, OURS)}
    for name, ratio in in_turns(runs, BASELINE, job.device, job.plan.backbone_seconds, _MIN_TURNS).items():
        growth, _ = peak_growth(runs[name], job.device)
        job.time_row({**shown, 'model': name}, ratio, images_per_second=case.batch / ratio.seconds,
                     mib=None if growth is None else growth / 2**20)


def compile_blocks(model: nn.Module, compiler: str) -> nn.Module:
    """Compiles every block of a ViT separately: all blocks share the compiled code, so it takes seconds, not minutes.

    Args:
        model: A model with its blocks in ``layers``; changed in place.
        compiler: ``backend`` of torch.compile.
    """
    for index, layer in enumerate(model.layers):
        model.layers[index] = torch.compile(layer, backend=compiler, dynamic=False)
    return model


def compile_whole(model: nn.Module, compiler: str) -> nn.Module:
    """Compiles a model as ``torch.compile(model)`` does."""
    return torch.compile(model, backend=compiler, dynamic=False)


def compiled_blocks(job: Job) -> None:
    """Times backbones whose blocks are compiled, in turns with the same ones eager."""
    _each_case(job, job.plan.backbones, BLOCKS, 0 if job.plan.small else 15, _race_compiled, compile_blocks)


def compiled_whole(job: Job) -> None:
    """Times backbones that are compiled as a whole, in turns with the same ones eager."""
    _each_case(job, job.plan.whole, WHOLE, 0 if job.plan.small else 20, _race_compiled, compile_whole)


def _race_compiled(job: Job, case: Case, mode: str, shown: Row, make: Compile) -> None:
    torch.compiler.reset()  # else the graphs of other cases count against the limit of recompilations
    images, runs, compiling = random_images(case), {}, {}
    for name in (BASELINE, OURS):
        runs[name, EAGER] = runner(build(name, case), images, mode)
        runs[name, make] = runner(make(build(name, case), job.plan.compiler), images, mode)
        runs[name, EAGER]()
        began = time.perf_counter()
        runs[name, make]()
        compiling[name] = time.perf_counter() - began
    times = take_turns(runs, job.device, job.plan.backbone_seconds, _MIN_TURNS)
    for name, took in compiling.items():
        ratio = compare(times[name, make], times[BASELINE, make])
        itself = compare(times[name, make], times[name, EAGER])
        job.time_row({**shown, 'model': name}, ratio, images_per_second=case.batch / ratio.seconds,
                     compile_seconds=took, to_eager=itself.ratio, to_eager_low=itself.low, to_eager_high=itself.high,
                     eager_ratio=compare(times[name, EAGER], times[BASELINE, EAGER]).ratio)
