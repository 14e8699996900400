"""Measures whole models for the report: LocAtViT beside MMPretrain's ViT, eager and compiled, and segmentors."""

from __future__ import annotations

from functools import partial
from typing import Iterator, List

import torch
from torch import nn

from mmlocat.analysis.recipe import quiet_mmengine
from mmlocat.config import load_config
from mmlocat.models.building import build_model, input_shape
from mmlocat.utils import share_folder

from ..backbone import BASELINE, MODES, OURS, Case, build, check_parity, random_images, runner
from ..measure import Call, in_turns, race
from .attention import Measurement, Row
from .plan import Plan


def _cases(plan: Plan) -> List[Case]:
    return [Case(*each, dtype=plan.dtype, device=plan.device) for each in plan.backbones]


def eager(plan: Plan) -> Iterator[Measurement]:
    """Times inference and training steps in turns, and measures how much memory grows in one call."""
    for case in _cases(plan):
        for mode in MODES:
            yield dict(case.shown, mode=mode), partial(_race_eager, case, mode, plan.seconds)


def _race_eager(case: Case, mode: str, seconds: float) -> Row:
    check_parity(case.arch, case.device)
    images = random_images(case)
    own, base = (runner(build(name, case), images, mode) for name in (OURS, BASELINE))
    found = race(own, base, case.device, seconds)
    return dict(found, images_per_second=case.batch / found['ms'] * 1e3)


def compiled(plan: Plan) -> Iterator[Measurement]:
    """Times backbones whose blocks are compiled, and one that is compiled as a whole, in turns with eager ones."""
    cases = _cases(plan)
    for what, some in (('blocks', cases), ('whole', cases[:1])):
        for case in some:
            for mode in MODES:
                yield dict(case.shown, mode=mode, compiled=what), partial(_race_compiled, case, mode, what, plan)


def _race_compiled(case: Case, mode: str, what: str, plan: Plan) -> Row:
    torch.compiler.reset()  # else the graphs of other cases count against the limit of recompilations
    make = partial(torch.compile, backend=plan.compiler, dynamic=False)
    images, runs = random_images(case), {}
    for name in (BASELINE, OURS):
        runs[name, 'eager'] = runner(build(name, case), images, mode)
        model = build(name, case)
        if what == 'blocks':  # all blocks share the compiled code, so this takes seconds, not minutes
            model.layers = nn.ModuleList(make(layer) for layer in model.layers)
        else:
            model = make(model)
        runs[name, 'compiled'] = runner(model, images, mode)
    times = in_turns(runs, (BASELINE, 'compiled'), case.device, plan.seconds)
    own, own_eager = times[OURS, 'compiled'], times[OURS, 'eager']
    eager_ratio = own_eager.seconds / times[BASELINE, 'eager'].seconds
    return dict(ms=own.seconds * 1e3, ratio=own.ratio, low=own.low, high=own.high, turns=own.turns,
                eager_ratio=eager_ratio, over_eager_ratio=own.ratio / eager_ratio,
                to_own_eager=own.seconds / own_eager.seconds)


def training(plan: Plan) -> Iterator[Measurement]:
    """Times a training step of a shipped segmentor in turns with that of its plain twin, and measures memory."""
    ours, twin, batch = plan.training
    precision = 'AMP, bfloat16' if plan.dtype == 'bfloat16' else 'float32'
    yield dict(config=ours, baseline=twin, batch=batch, precision=precision), partial(_race_training, plan)


def _race_training(plan: Plan) -> Row:
    *configs, batch = plan.training
    own, base = (_training_step(name, batch, plan) for name in configs)
    found = race(own, base, plan.device, plan.seconds)
    return dict(found, images_per_second=batch / found['ms'] * 1e3)


def _training_step(name: str, batch: int, plan: Plan) -> Call:
    """Returns a training step of a shipped config on random images and labels: forward, backward, update."""
    from mmengine.optim import build_optim_wrapper
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    config = load_config(str(share_folder() / 'configs' / f'{name}.py'))
    shape = input_shape(config)
    wrapper = dict(config.optim_wrapper)
    if plan.dtype == 'bfloat16':
        wrapper.update(type='AmpOptimWrapper', dtype='bfloat16')
    with quiet_mmengine():
        model = build_model(config, plan.device).train()
        optimizer = build_optim_wrapper(model, wrapper)
    samples = []
    for _ in range(batch):
        labels = torch.randint(model.decode_head.num_classes, (1, *shape), device=plan.device)
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo=dict(img_shape=shape)))
    images = [torch.randint(256, (3, *shape), dtype=torch.uint8, device=plan.device) for _ in range(batch)]
    return partial(model.train_step, dict(inputs=images, data_samples=samples), optimizer)
