"""Measures LocAtViT beside this package's plain ViT and MMPretrain's: inference and training steps."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from mmlocat.attention import GaussianAttention
from mmlocat.utils import require_openmmlab

from .measure import Result, peak_growth, results

BASELINE, OURS = 'mmpretrain ViT', 'LocAtViT'
MODELS = (BASELINE, 'plain', OURS)
MODES = ('inference', 'training step')
_PATCH = 16
# A tiny model, which serves only to test the measurement itself within seconds.
_NANO = dict(embed_dims=32, num_layers=2, num_heads=1, feedforward_channels=64)


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


@lru_cache(maxsize=1)
def classes() -> Tuple[type, type]:
    """Returns MMPretrain's VisionTransformer and LocAtViT.

    They are imported on the first call, for measuring attention needs no OpenMMLab package. mmcv without compiled
    operators warns of a missing one at every import, in every process; no model here uses it, so it is silenced.

    Raises:
        ImportError: An OpenMMLab package does not import; the message says how to install it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Fail to import', module='mmcv')
        require_openmmlab('mmlocat.benchmark.backbone')
        from mmpretrain.models.backbones import VisionTransformer

        from mmlocat.models import LocAtViT
    return VisionTransformer, LocAtViT


def build(name: str, case: Case) -> nn.Module:
    """Builds one model for images of this size, in eval mode, without drop path.

    It makes and frees no other model: the measured call would reuse the freed memory and seem to need none.
    """
    torch.manual_seed(0)
    vit, locat_vit = classes()
    options = dict(img_size=case.image, patch_size=_PATCH, out_type='featmap')
    arch = _NANO if case.arch == 'nano' else case.arch
    if name != BASELINE:
        model = locat_vit(arch, gaug=name != 'plain', ref_grid=14, **options)
    else:
        model = vit(locat_vit.arch_zoo[arch] if isinstance(arch, str) else arch, **options)
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
        for backend in ('dense', 'auto', 'streaming'):  # with larger images 'auto' takes 'streaming'
            model = build('LocAtViT', case)
            for module in model.modules():
                if isinstance(module, GaussianAttention):
                    module.backend = backend
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


def extra_memory(case: Case, mode: str, name: str) -> Optional[float]:
    """Measures by how many MiB memory grows in this process during one call, gradients and optimizer included."""
    small = case._replace(arch='tiny', image=64)
    runner(build(name, small), random_images(small), mode)()
    model = build(name, case)
    growth, _ = peak_growth(runner(model, random_images(case), mode), case.device)
    return None if growth is None else growth / 2**20


def measure(case: Case, mode: str, seconds: float, with_memory: bool) -> List[Result]:
    """Checks parity, then times the models of a case in turns, and measures each one's memory in its own process.

    Args:
        case: Images and size of model.
        mode: One of ``MODES``.
        seconds: Time for the turns.
        with_memory: Whether to measure memory.
    """
    check_parity(case)
    images = random_images(case)
    runs = {name: runner(build(name, case), images, mode) for name in MODELS}
    return results(case, mode, runs, BASELINE, seconds, extra_memory if with_memory else None)
