"""The parts about whole backbones: LocAtViT beside MMPretrain's ViT, eager and compiled."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Tuple

import torch
from torch import nn

from ..backbone import BASELINE, MODES, OURS, Case, build, check_parity, random_images, runner
from ..clocks import clock_for
from ..measure import compare, peak_growth, take_turns
from .job import Job
from .plan import BackboneCase

EAGER, BLOCKS, WHOLE = 'eager', 'compiled blocks', 'compiled whole'
Compile = Callable[[nn.Module, str], nn.Module]
_MIN_TURNS = 5


def _shown(job: Job, item: BackboneCase, mode: str) -> Tuple[Case, Dict[str, Any]]:
    case = Case(item.arch, item.image, item.batch, job.plan.dtype, job.device)
    return case, dict(arch=item.arch, image=item.image, batch=item.batch, dtype=job.plan.dtype, mode=mode)


def eager(job: Job) -> None:
    """Times inference and training steps in turns, and by how much memory grows in one call."""
    checked = set()
    for item in job.plan.backbones:
        for mode in MODES:
            case, shown = _shown(job, item, mode)
            with job.case(shown, needs=2 * job.plan.backbone_seconds) as go:
                if not go:
                    continue
                if item.arch not in checked:
                    check_parity(case)
                    checked.add(item.arch)
                images = random_images(case)
                runs = {name: runner(build(name, case), images, mode) for name in (BASELINE, OURS)}
                times = take_turns(runs, clock_for(job.device), job.plan.backbone_seconds, _MIN_TURNS)
                for name, own in times.items():
                    growth, _ = peak_growth(runs[name], job.device)
                    _hand_over(job, {**shown, 'execution': EAGER, 'model': name}, own, times[BASELINE],
                               mib=None if growth is None else growth / 2**20)


def _hand_over(job: Job, shown: Dict[str, Any], own, base, **more: Any) -> None:
    result = compare(own, base)
    job.row(shown, ms=result.seconds * 1e3, ratio=result.ratio, low=result.low, high=result.high, turns=len(own),
            images_per_second=shown['batch'] / result.seconds, **more)


def compile_blocks(model: nn.Module, compiler: str) -> nn.Module:
    """Compiles every block of a ViT for itself: blocks share what is compiled, which takes seconds and not minutes.

    Args:
        model: Has its blocks in ``layers``; changed in place.
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
    _compiled(job, job.plan.backbones, BLOCKS, compile_blocks, needs=15)


def compiled_whole(job: Job) -> None:
    """Times backbones that are compiled as a whole, in turns with the same ones eager."""
    _compiled(job, job.plan.whole, WHOLE, compile_whole, needs=20)


def _compiled(job: Job, items: Tuple[BackboneCase, ...], execution: str, make: Compile, needs: float) -> None:
    for item in items:
        for mode in MODES:
            case, shown = _shown(job, item, mode)
            with job.case({**shown, 'execution': execution}, needs=0 if job.plan.small else needs) as go:
                if go:
                    torch.compiler.reset()  # else what other cases compiled counts against the limit of recompilations
                    _race(job, case, {**shown, 'execution': execution}, mode, make)


def _race(job: Job, case: Case, shown: Dict[str, Any], mode: str, make: Compile) -> None:
    images, runs, compiling = random_images(case), {}, {}
    for name in (BASELINE, OURS):
        runs[name, EAGER] = runner(build(name, case), images, mode)
        runs[name, make] = runner(make(build(name, case), job.plan.compiler), images, mode)
        runs[name, EAGER]()
        began = time.perf_counter()
        runs[name, make]()
        compiling[name] = time.perf_counter() - began
    times = take_turns(runs, clock_for(job.device), job.plan.backbone_seconds, _MIN_TURNS)
    for name, took in compiling.items():
        own = times[name, make]
        itself = compare(own, times[name, EAGER])
        eager_ratio = compare(times[name, EAGER], times[BASELINE, EAGER]).ratio
        _hand_over(job, {**shown, 'model': name}, own, times[BASELINE, make], compile_seconds=took,
                   to_eager=itself.ratio, to_eager_low=itself.low, to_eager_high=itself.high, eager_ratio=eager_ratio)
