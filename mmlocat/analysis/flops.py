"""Counts parameters and multiply-accumulates (MACs) of a config's model, module by module.

PyTorch's ``FlopCounterMode`` counts on the meta device, which handles shapes only and takes no memory. There,
``scaled_dot_product_attention`` decomposes into the two matrix products that the counter knows; on a CPU its fused
kernel, which the counter does not know, is switched off. GAug is counted with the 'sdpa' back-end, whichever the config
names, so all back-ends count alike. Its mask is made of elementwise products, which the counter does not see; they are
added by formula: a query of an H x W grid multiplies H + W distances, H factors by alpha, and H * W pairs of factors.

One MAC is a multiplication and an addition: what papers on vision transformers call a FLOP (1.26 G for ViT-Tiny at
224 px). Not counted, as is usual: softmax, norms, activations, exponentials, residual additions, resizing.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Tuple

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmlocat.attention import GaussianAttention
from mmlocat.models.building import build_model

_COUNTING_BACKEND = 'sdpa'


@dataclass(frozen=True)
class ModuleCost:
    """The cost of one module: a row of the table.

    Args:
        name: The module's name in the model; '' is the whole model.
        kind: Its class.
        parameters: Number of parameters, with those of its children.
        macs: Multiply-accumulates of one forward pass, with those of its children.
    """

    name: str
    kind: str
    parameters: int
    macs: int


@dataclass(frozen=True)
class ModelCost:
    """The cost of one forward pass of a model.

    Args:
        shape: (height, width) of the input in px.
        batch: Images in the pass.
        modules: The whole model first, then its modules in the order of definition.
        trainable: Number of parameters with a gradient.
    """

    shape: Tuple[int, int]
    batch: int
    modules: List[ModuleCost]
    trainable: int

    @property
    def parameters(self) -> int:
        """Number of parameters of the whole model."""
        return self.modules[0].parameters

    @property
    def macs(self) -> int:
        """MACs of the whole model and batch."""
        return self.modules[0].macs

    def of(self, name: str) -> int:
        """Returns the MACs of a module by its name; 0 if the model has none of that name."""
        return next((module.macs for module in self.modules if module.name == name), 0)


def count(config: Config, shape: Tuple[int, int], batch: int = 1, device: str = 'meta') -> ModelCost:
    """Counts one forward pass.

    Args:
        config: A config of MMPretrain or MMSegmentation.
        shape: (height, width) of the input in px.
        batch: Images in the pass.
        device: 'meta', or 'cpu' to really run the pass, for models that the meta device cannot run.

    Returns:
        Parameters and MACs by module.

    Raises:
        ValueError: A number is not positive.
        RuntimeError: The model cannot run on this shape or device.
    """
    if min(*shape, batch) < 1:
        raise ValueError(f'height, width and batch must be positive whole numbers, got {(*shape, batch)}')
    model = build_model(config, device)
    counter = FlopCounterMode(display=False)
    spent = _Spent(counter)
    for name, module in model.named_modules():
        spent.watch(name, module)
    try:
        with _without_flash_attention(), counter, torch.no_grad():
            model(torch.zeros(batch, 3, *shape, device=device))
    except (RuntimeError, NotImplementedError) as error:
        raise RuntimeError(f'the model cannot run on {shape[0]} x {shape[1]} px on device {device!r}: {error}'
                           + ('; try --device cpu' if device == 'meta' else '')) from error
    rows = [ModuleCost(name, type(module).__name__, sum(p.numel() for p in module.parameters()), spent.of(name, module))
            for name, module in model.named_modules()]
    return ModelCost(tuple(shape), batch, rows, sum(p.numel() for p in model.parameters() if p.requires_grad))


class _Spent:
    """Records the FLOPs of each module while it runs: those of the counter, and those of the Gaussians.

    The counter's own attribution does not see modules whose ``forward`` is called directly, as MMSegmentation's
    decode head is.
    """

    def __init__(self, counter: FlopCounterMode) -> None:
        self.counter = counter
        self.gaussians = 0
        self.begun: Dict[str, List[int]] = {}
        self.flops: Dict[str, int] = {}

    def _total(self) -> int:
        return self.counter.get_total_flops() + self.gaussians

    def watch(self, name: str, module: nn.Module) -> None:
        """Records what a module costs, and makes its attention use the back-end that is counted in full."""
        module.register_forward_pre_hook(lambda *_: self.begun.setdefault(name, []).append(self._total()))
        if isinstance(module, GaussianAttention):
            module.backend = _COUNTING_BACKEND
            module.register_forward_pre_hook(self._add_gaussians)
        module.register_forward_hook(lambda *_: self._end(name))

    def _add_gaussians(self, module: GaussianAttention, arguments: Tuple[Any, ...]) -> None:
        query, _, _, (height, width) = arguments[:4]
        queries = query.shape[0] * query.shape[1] * height * width
        self.gaussians += 2 * queries * (height + width + height + height * width)

    def _end(self, name: str) -> None:
        self.flops[name] = self.flops.get(name, 0) + self._total() - self.begun[name].pop()

    def of(self, name: str, module: nn.Module) -> int:
        """Returns the MACs of a module; if its ``forward`` was called directly, the sum over its children."""
        if name in self.flops:
            return math.ceil(self.flops[name] / 2)
        return sum(self.of(f'{name}.{child}' if name else child, part) for child, part in module.named_children())


@contextmanager
def _without_flash_attention() -> Iterator[None]:
    """Makes attention run as matrix products that the counter knows.

    ``FlopCounterMode`` does not count the fused kernel for CPUs (PyTorch 2.1 to 2.14); a test tells when it does.
    """
    before = torch.backends.cuda.flash_sdp_enabled()  # holds for CPUs too, despite its name
    torch.backends.cuda.enable_flash_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_flash_sdp(before)
