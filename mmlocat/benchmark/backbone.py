"""Whole backbones: LocAtViT against this package's plain ViT and MMPretrain's, inference and training step."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import torch
from mmpretrain.models.backbones import VisionTransformer
from torch import Tensor, nn

from mmlocat.models import LocAtViT

from .measure import Ratio, in_fresh_process, in_turns, peak_growth

BASELINE = 'mmpretrain ViT'
MODELS = (BASELINE, 'plain', 'LocAtViT')
MODES = ('inference', 'training step')
_PATCH = 16


class Case(NamedTuple):
    """What is measured: one batch of square images through one size of model."""

    arch: str
    image: int
    batch: int = 1
    dtype: str = 'float32'
    device: str = 'cpu'


class Result(NamedTuple):
    """One row: a case, a mode and a model."""

    case: Case
    mode: str
    name: str
    time: Ratio
    extra: Optional[float]  # MiB of growth during the call


def build(name: str, case: Case) -> nn.Module:
    """Builds one model for images of this size, in eval mode, without drop path.

    No other model is made and freed on the way: a later call would find its memory and seem to need none.
    """
    torch.manual_seed(0)
    options = dict(img_size=case.image, patch_size=_PATCH, out_type='featmap')
    if name != BASELINE:
        model = LocAtViT(case.arch, gaug=name != 'plain', ref_grid=14, **options)
    else:
        model = VisionTransformer(LocAtViT.arch_zoo[case.arch], **options)
    model.eval()  # which returns None in MMPretrain
    return model.to(case.device, getattr(torch, case.dtype))


def check_parity(case: Case) -> None:
    """Compares the two plain models, and LocAtViT with its oracle, on these images (at most 224 pixels a side).

    Raises:
        RuntimeError: They differ.
    """
    case = case._replace(image=min(case.image, 224), dtype='float32')
    images = torch.randn(1, 3, case.image, case.image, device=case.device)
    with torch.no_grad():
        plain, baseline = build('plain', case), build(BASELINE, case)
        baseline.load_state_dict(plain.state_dict())
        pairs = {'plain': (plain(images)[-1], baseline(images)[-1])}
        outs = {}
        for backend in ('dense', 'auto', 'streaming'):  # larger images take the last
            model = build('LocAtViT', case)
            for layer in model.layers:
                layer.attn.attention_backend = backend
            outs[backend] = model(images)[-1]
        pairs.update({f'LocAtViT ({name})': (outs[name], outs['dense']) for name in ('auto', 'streaming')})
    for name, (own, expected) in pairs.items():
        error = (own - expected).abs().max().item()
        if not error <= 1e-4 * max(1.0, expected.abs().max().item()):
            raise RuntimeError(f'{name} is off by {error:.2g} from its reference in {case}')


def runner(model: nn.Module, images: Tensor, mode: str) -> Callable[[], Any]:
    """Returns a call of the model: inference without gradients, or forward, backward and a step of AdamW."""
    if mode == 'inference':

        def infer() -> Tensor:
            with torch.no_grad():
                return model(images)[-1]

        return infer
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model(images)[-1].float().square().mean().backward()
        optimizer.step()

    return step


def _images(case: Case) -> Tensor:
    return torch.randn(case.batch, 3, case.image, case.image, device=case.device).to(getattr(torch, case.dtype))


def extra_memory(case: Case, name: str, mode: str) -> Optional[float]:
    """Measures by how many MiB memory grows in this process during one call, gradients and optimizer included."""
    small = case._replace(arch='tiny', image=64)
    runner(build(name, small), _images(small), mode)()
    model = build(name, case)
    growth, _ = peak_growth(runner(model, _images(case), mode), case.device)
    return None if growth is None else growth / 2**20


def measure(case: Case, mode: str, names: Sequence[str], seconds: float, with_memory: bool) -> List[Result]:
    """Checks parity, then measures the models of a case in turns, and their memory each in a process of its own."""
    check_parity(case)
    images = _images(case)
    runs: Dict[str, Callable[[], Any]] = {name: runner(build(name, case), images, mode) for name in names}
    times = in_turns(runs, BASELINE, case.device, seconds)
    return [
        Result(case, mode, name, times[name],
               in_fresh_process(extra_memory, case, name, mode) if with_memory else None) for name in names
    ]
