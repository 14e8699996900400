"""Parameters and multiply-accumulates (MACs) of a config's model, module by module.

PyTorch's ``FlopCounterMode`` does the counting, on the meta device: shapes alone, no memory, no time. There,
``scaled_dot_product_attention`` falls apart into the two matrix products that the counter knows; its fused kernel for
CPUs, which the counter does not know, gets the same formula. GAug writes its mask in one piece for this (the 'sdpa'
back-end), so all back-ends count alike. The mask is made of elementwise products, which no counter sees, so they are
added by formula: a query of an H x W grid multiplies H + W distances, H factors by alpha, and H * W pairs of factors.

One MAC is a multiplication and an addition: what papers on vision transformers call a FLOP (1.26 G for ViT-Tiny at
224 px). Not counted, as is usual: softmax, norms, activations, exponentials, residual additions, resizing.
"""

from __future__ import annotations

import importlib.util
import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmlocat.models.backbones.layers import LocAtAttention

_COUNTING_BACKEND = 'sdpa'


@dataclass(frozen=True)
class ModuleCost:
    """One row of the table.

    Args:
        name: The module's name in the model; '' is the whole model.
        kind: Its class.
        parameters: With those of its children.
        macs: Multiply-accumulates of one forward pass, with those of its children.
    """

    name: str
    kind: str
    parameters: int
    macs: int


@dataclass(frozen=True)
class ModelCost:
    """What one forward pass of a model costs.

    Args:
        shape: (height, width) of the input in px.
        batch: Images in the pass.
        modules: The whole model first, then its modules in the order of definition.
        trainable: Parameters with a gradient.
    """

    shape: Tuple[int, int]
    batch: int
    modules: List[ModuleCost]
    trainable: int

    @property
    def parameters(self) -> int:
        """Of the whole model."""
        return self.modules[0].parameters

    @property
    def macs(self) -> int:
        """Of the whole model and batch."""
        return self.modules[0].macs

    def of(self, name: str) -> int:
        """Returns the MACs of a module by its name; 0 if the model has none of that name."""
        return next((module.macs for module in self.modules if module.name == name), 0)


def build_model(config: Config, device: str = 'meta') -> nn.Module:
    """Builds the model of a config in evaluation mode, without loading weights.

    Args:
        config: Of MMPretrain or MMSegmentation; left as it is.
        device: 'meta' gives shapes without memory.

    Returns:
        The model.
    """
    init_default_scope(config.get('default_scope', 'mmengine'))
    settings = config.to_dict()['model']
    if settings.get('backbone'):
        settings['backbone'] = {**settings['backbone'], 'init_cfg': None}
    settings.pop('pretrained', None)
    if config.get('data_preprocessor') and 'data_preprocessor' not in settings:
        settings['data_preprocessor'] = config.to_dict()['data_preprocessor']
    with torch.device(device):
        model = MODELS.build(settings)
    model.eval()  # which returns None in MMPretrain
    return model.to(device)


def input_shape(config: Config) -> Tuple[int, int]:
    """Returns (height, width) of a config's training images in px: its crop, or the size of pretraining."""
    size = ((config.get('model') or {}).get('data_preprocessor') or {}).get('size')
    size = size or (config.get('model') or {}).get('backbone', {}).get('img_size', 224)
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def count(config: Config, shape: Tuple[int, int], batch: int = 1, device: str = 'meta') -> ModelCost:
    """Counts one forward pass.

    Args:
        config: Of MMPretrain or MMSegmentation.
        shape: (height, width) of the input in px.
        batch: Images in the pass.
        device: 'cpu' runs the pass for real, for models that the meta device cannot run.

    Returns:
        Parameters and MACs by module.

    Raises:
        ValueError: A number is not positive.
        RuntimeError: The model cannot run on this shape or device.
    """
    if min(*shape, batch) < 1:
        raise ValueError(f'height, width and batch must be positive whole numbers, got {(*shape, batch)}')
    model = build_model(config, device)
    gaussian: Dict[str, int] = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, LocAtAttention) and module.gaug is not None:
                module.attention_backend = _COUNTING_BACKEND
                handle = module.register_forward_pre_hook(_gaussian_counter(gaussian, name))
                stack.callback(handle.remove)
        counter = stack.enter_context(_counter(model))
        stack.enter_context(torch.no_grad())
        try:
            model(torch.zeros(batch, 3, *shape, device=device))
        except (RuntimeError, NotImplementedError) as error:
            raise RuntimeError(f'the model cannot run on {shape[0]} x {shape[1]} px on device {device!r}: {error}'
                               + ('; try --device cpu' if device == 'meta' else '')) from error
    return ModelCost(tuple(shape), batch, _rows(model, counter, gaussian),
                     sum(p.numel() for p in model.parameters() if p.requires_grad))


def _gaussian_counter(found: Dict[str, int], name: str):
    """Returns a hook that notes the elementwise products of one call of an attention with GAug."""

    def note(module: LocAtAttention, arguments: Tuple[Any, ...]) -> None:
        tokens, (height, width) = arguments
        queries = len(tokens) * module.num_heads * height * width
        found[name] = found.get(name, 0) + queries * (height + width + height + height * width)

    return note


def _counter(model: nn.Module) -> FlopCounterMode:
    options: Dict[str, Any] = dict(display=False, custom_mapping=_fused_kernels())
    if importlib.util.find_spec('torch.utils.module_tracker') is None:  # until PyTorch 2.3
        options['mods'] = model
    return FlopCounterMode(**options)


def _fused_kernels() -> Dict[Any, Any]:
    """Returns the formula for the CPU's fused attention, which the counter lacks; FLOPs, two a MAC."""

    def formula(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
        batch, heads, queries, dims = _shape(query)
        return 2 * batch * heads * queries * _shape(key)[2] * (dims + _shape(value)[3])

    packet = getattr(torch.ops.aten, '_scaled_dot_product_flash_attention_for_cpu', None)
    return {} if packet is None else {packet: formula}


def _shape(tensor: Any) -> Tuple[int, ...]:
    return tuple(getattr(tensor, 'shape', tensor))  # PyTorch hands over the one or the other, by version


def _rows(model: nn.Module, counter: FlopCounterMode, gaussian: Dict[str, int]) -> List[ModuleCost]:
    root = type(model).__name__
    flops = {name: sum(by_operator.values()) for name, by_operator in counter.get_flop_counts().items()}
    flops.setdefault(root, flops.get('Global', 0))
    rows = []
    for name, module in model.named_modules():
        counted = flops.get(f'{root}.{name}' if name else root, 0)
        bias = sum(macs for owner, macs in gaussian.items() if not name or f'{owner}.'.startswith(f'{name}.'))
        rows.append(ModuleCost(name, type(module).__name__, sum(p.numel() for p in module.parameters()),
                               math.ceil(counted / 2) + bias))
    return rows
