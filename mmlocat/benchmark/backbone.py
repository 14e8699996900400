"""Measures LocAtViT beside this package's plain ViT and MMPretrain's: inference and training steps."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import torch
from torch import Tensor, nn

from mmlocat.attention import GaussianAttention
from mmlocat.models import LocAtViT  # before MMPretrain, for it says how to install what is missing

from .measure import Result, peak_growth, results

BASELINE, PLAIN, OURS = 'mmpretrain ViT', 'plain', 'LocAtViT'
INFERENCE, STEP = MODES = ('inference', 'training step')


class Case(NamedTuple):
    """One case to measure: a batch of square images through one size of model."""

    arch: str
    image: int
    batch: int = 1
    dtype: str = 'float32'
    device: str = 'cpu'

    @property
    def shown(self) -> Dict[str, Any]:
        """The fields of the case that tables show."""
        return dict(arch=self.arch, image=self.image, batch=self.batch, dtype=self.dtype)


def build(name: str, case: Case) -> nn.Module:
    """Builds one model for images of this size, in eval mode, without drop path.

    It makes and frees no other model: the measured call would reuse the freed memory and seem to need none.
    """
    from mmpretrain.models.backbones import VisionTransformer
    torch.manual_seed(0)
    options = dict(img_size=case.image, patch_size=16, out_type='featmap')
    if name == BASELINE:
        model = VisionTransformer(LocAtViT.arch_zoo[case.arch], **options)
    else:
        model = LocAtViT(case.arch, gaug=name == OURS, ref_grid=14, **options)
    model.eval()  # which returns None in MMPretrain (1.2.0 to 1.3.6)
    return model.to(case.device, getattr(torch, case.dtype))


@lru_cache(maxsize=None)
def check_parity(arch: str, device: str) -> None:
    """Compares the two plain models, and LocAtViT by each back-end with its oracle, on an image of 224 px in float32.

    Raises:
        RuntimeError: They differ.
    """
    case = Case(arch, 224, device=device)
    images = random_images(case)
    plain, baseline, ours = (build(name, case) for name in (PLAIN, BASELINE, OURS))
    baseline.load_state_dict(plain.state_dict())

    def out(model: nn.Module, backend: str = 'auto') -> Tensor:
        for module in model.modules():
            if isinstance(module, GaussianAttention):
                module.backend = backend
        with torch.no_grad():
            return model(images)[-1]

    pairs = {PLAIN: (out(plain), out(baseline)), OURS: (out(ours), out(ours, 'dense')),
             f'{OURS} (streaming)': (out(ours, 'streaming'), out(ours, 'dense'))}  # what 'auto' takes of larger images
    for name, (own, expected) in pairs.items():
        error = (own - expected).abs().max().item()
        if not error <= 1e-4 * max(1.0, expected.abs().max().item()):
            raise RuntimeError(f'{name} is off by {error:.2g} from its reference in {case}')


def runner(model: nn.Module, images: Tensor, mode: str) -> Callable[[], Any]:
    """Returns a call of the model: inference without gradients, or forward, backward and a step of AdamW."""
    if mode == INFERENCE:
        return torch.no_grad()(lambda: model(images)[-1])
    model.train()
    # AdamW is fused where that saves kernel launches, for all models alike.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=images.is_cuda or None)

    def step() -> None:
        optimizer.zero_grad()
        model(images)[-1].float().square().mean().backward()
        optimizer.step()

    return step


def random_images(case: Case) -> Tensor:
    """Returns one batch of noise, (B, 3, H, W)."""
    return torch.randn(case.batch, 3, case.image, case.image, device=case.device).to(getattr(torch, case.dtype))


def _extra_memory(case: Case, mode: str, name: str) -> Optional[float]:
    """Measures by how many MiB memory grows in this process during one call, gradients and optimizer included."""
    small = case._replace(arch='tiny', image=64)
    runner(build(name, small), random_images(small), mode)()
    growth, _ = peak_growth(runner(build(name, case), random_images(case), mode), case.device)
    return None if growth is None else growth / 2**20


def measure(case: Case, mode: str, seconds: float, with_memory: bool) -> List[Result]:
    """Checks parity, then times the models of a case in turns, and measures each one's memory in its own process.

    Args:
        case: Images and size of model.
        mode: One of ``MODES``.
        seconds: Time for the turns.
        with_memory: Whether to measure memory.
    """
    check_parity(case.arch, case.device)
    images = random_images(case)
    runs = {name: runner(build(name, case), images, mode) for name in (BASELINE, PLAIN, OURS)}
    return results(case, mode, runs, BASELINE, seconds, _extra_memory if with_memory else None)
