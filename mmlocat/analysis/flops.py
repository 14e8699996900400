"""Counts parameters and multiply-accumulates (MACs) of a config's model, module by module.

PyTorch's ``FlopCounterMode`` counts on the meta device, which handles shapes only and takes no memory. There,
``scaled_dot_product_attention`` decomposes into the two matrix products that the counter knows. GAug is counted with
the 'sdpa' back-end, whichever the config names, so all back-ends count alike. Its mask is made of elementwise products,
which the counter does not see; they are added by formula: a query of an H x W grid multiplies H + W distances, H
factors by alpha, and H * W pairs of factors. In LocAtSwin the grid is the window, and padded tokens are queries too.

One MAC is a multiplication and an addition: what papers on vision transformers call a FLOP (1.26 G for ViT-Tiny at
224 px). Not counted, as is usual: softmax, norms, activations, exponentials, residual additions, resizing, rotary
embeddings.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from typing import Any, Dict, List, NamedTuple, Tuple

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmlocat.attention import GaussianAttention
from mmlocat.models.building import build_model, image_channels


class ModuleCost(NamedTuple):
    """The cost of one module, with its children: a row of the table."""

    name: str  # in the model; '' is the whole model
    kind: str  # its class
    parameters: int
    macs: int  # multiply-accumulates of one forward pass


class ModelCost(NamedTuple):
    """The cost of one forward pass of a model."""

    parameters: int
    trainable: int  # parameters with a gradient
    macs: int
    modules: List[ModuleCost]  # the whole model first, then its modules in the order of definition

    def of(self, name: str) -> int:
        """Returns the MACs of a module by its name; 0 if the model has none of that name."""
        return next((module.macs for module in self.modules if module.name == name), 0)


def count(config: Config, shape: Tuple[int, int], batch: int = 1) -> ModelCost:
    """Counts one forward pass.

    Args:
        config: A config of MMPretrain or MMSegmentation.
        shape: (height, width) of the input in px.
        batch: Images in the pass.

    Returns:
        Parameters and MACs by module.

    Raises:
        ValueError: A number is not positive.
        RuntimeError: The model cannot run on this shape, or not on the meta device.
    """
    if min(*shape, batch) < 1:
        raise ValueError(f'height, width and batch must be positive whole numbers, got {(*shape, batch)}')
    model = build_model(config, 'meta')
    counter = FlopCounterMode(display=False)
    spent = _Spent(counter)
    for name, module in model.named_modules():
        if isinstance(module, GaussianAttention):
            module.backend = 'sdpa'
        module.register_forward_pre_hook(partial(spent.begin, name))
        module.register_forward_hook(partial(spent.end, name))
    try:
        with counter, torch.no_grad():
            model(torch.zeros(batch, image_channels(model), *shape, device='meta'))
    except (RuntimeError, NotImplementedError) as error:
        raise RuntimeError(f'the model cannot run on the shapes of {shape[0]} x {shape[1]} px: {error}') from error
    rows = [ModuleCost(name, type(module).__name__, sum(p.numel() for p in module.parameters()),
                       math.ceil(spent.of(name, module) / 2)) for name, module in model.named_modules()]
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return ModelCost(rows[0].parameters, trainable, rows[0].macs, rows)


class _Spent:
    """Records the FLOPs of each module while it runs: those of the counter, and those of the Gaussians.

    The counter's own attribution does not see modules whose ``forward`` is called directly, as MMSegmentation's
    decode head is.
    """

    def __init__(self, counter: FlopCounterMode) -> None:
        self.counter, self.gaussians = counter, 0
        self.flops: Dict[str, int] = Counter()

    def begin(self, name: str, module: nn.Module, arguments: Tuple[Any, ...]) -> None:
        """Notes that a module begins; a GaussianAttention makes its Gaussians."""
        self.flops[name] -= self.counter.get_total_flops() + self.gaussians
        if isinstance(module, GaussianAttention):
            query, _, _, (height, width) = arguments[:4]
            queries = query.shape[0] * query.shape[1] * height * width
            self.gaussians += 2 * queries * (height + width + height + height * width)

    def end(self, name: str, *_: Any) -> None:
        """Notes that a module ends."""
        self.flops[name] += self.counter.get_total_flops() + self.gaussians

    def of(self, name: str, module: nn.Module) -> int:
        """Returns the FLOPs of a module; if its ``forward`` was called directly, the sum over its children."""
        if name in self.flops:
            return self.flops[name]
        return sum(self.of(f'{name}.{child}' if name else child, part) for child, part in module.named_children())
