"""Turns a trained model into one function of images for export, in which every step works for any image size."""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Optional, Tuple, Union

import torch
from mmengine.model import revert_sync_batchnorm
from mmseg.models.utils import Upsample
from torch import Tensor, nn

from mmlocat.attention import GaussianAttention
from mmlocat.models.backbones.layers import PAIRS
from mmlocat.models.backbones.protocol import find_backbone
from mmlocat.utils import first_line

# The exported graph holds one N x N matrix of logits a head anyway, for it has no fused attention that would avoid it.
_ATTENTION_BACKEND = 'sdpa'


class Exportable(nn.Module):
    """A copy of a model as a function of normalised images alone.

    Args:
        model: A classifier, a segmentor, or a backbone of the LocAt family; it is not changed.

    Attributes:
        task: 'backbone', 'classifier' or 'segmentor'.
        outputs: Names of the outputs; see ``named_outputs``.

    Raises:
        ValueError: The model cannot be exported for images of any size, or gives no tensors.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.task = _task_of(model)
        self.model = revert_sync_batchnorm(copy.deepcopy(model))
        for module in list(self.model.modules()):
            if isinstance(module, GaussianAttention):
                module.backend = _ATTENTION_BACKEND
            for name, child in module.named_children():
                # Pooling to one value is a mean, which ONNX has.
                if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size not in (1, (1, 1)):
                    setattr(module, name, PoolingByMatrices(child.output_size))
                elif isinstance(child, Upsample) and not child.size:  # its sizes, floats made whole, bind a graph
                    setattr(module, name, nn.Upsample(None, child.scale_factor, child.mode, child.align_corners))
        self.eval()
        if self.task == 'backbone':
            last = len(self.backbone.blocks) - 1
            part = 'stage' if hasattr(self.backbone, 'num_stages') else 'block'  # what out_indices counts
            names = [f'{part}_{index}' for index in sorted(getattr(self.backbone, 'out_indices', (last, )))]
            pairs = getattr(self.backbone, 'out_type', None) == PAIRS
            self.outputs = [f'{name}{kind}' for name in names for kind in (('_map', '_cls_token') if pairs else ('', ))]
        else:
            self.outputs = self._try_outputs()

    @property
    def backbone(self) -> nn.Module:
        """The backbone inside; see ``protocol.LocAtBackbone``."""
        return find_backbone(self.model)

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Returns a backbone's features, a classifier's logits (B, classes), or a segmentor's (B, classes, H, W)."""
        if self.task == 'backbone':
            return flat(self.model(images))
        if self.task == 'segmentor':
            return (self._segment(images), )
        return tuple(named_outputs(self.model(images, mode='tensor')).values())

    def _segment(self, images: Tensor) -> Tensor:
        """Returns what the segmentor's heads, one or several in a row, give in a test, in the images' size."""
        return self.model.encode_decode(images, [dict(img_shape=images.shape[2:])])

    def _try_outputs(self) -> List[str]:
        """Returns the names of what the head gives, by running the model on a small image."""
        part = getattr(self.model, 'decode_head', getattr(self.model, 'head', None))
        advice = "export the model's backbone: part='backbone' (--part backbone)"
        rows, columns = self.backbone.patch_size
        images = torch.zeros(1, self.backbone.in_channels, 2 * rows, 2 * columns,
                             device=next(self.parameters()).device)
        try:
            with torch.no_grad():
                result = self._segment(images) if self.task == 'segmentor' else self.model(images, mode='tensor')
        except Exception as error:  # the head may be anybody's
            raise ValueError(f'{type(part).__name__} does not run on images alone ({type(error).__name__}: '
                             f'{first_line(error)}); {advice}') from error
        try:
            return list(named_outputs(result))
        except TypeError as error:
            raise ValueError(f'{type(part).__name__} gives {error}; {advice}') from error


def flat(features: Any) -> Tuple[Tensor, ...]:
    """Returns the tensors of a backbone's outputs, pairs taken apart."""
    return tuple(named_outputs(features).values())


def named_outputs(result: Any, name: str = '') -> Dict[str, Tensor]:
    """Returns the tensors that a head gives, by name, in their order.

    Args:
        result: One tensor, whose name is 'logits'; or a dict or sequence of such, of any depth.
        name: Where it comes from: keys, joined by dots, and places in sequences, after an underscore.

    Raises:
        TypeError: There is something else in it.
    """
    if isinstance(result, Tensor):
        return {name or 'logits': result}
    if isinstance(result, dict):
        parts = {f'{name}.{key}' if name else str(key): value for key, value in result.items()}
    elif isinstance(result, (list, tuple)):
        parts = {f'{name or "logits"}_{place}': value for place, value in enumerate(result)}
    else:
        raise TypeError(f'{type(result).__name__}{f" as {name!r}" if name else ""}, which is no tensor')
    return {key: tensor for part, value in parts.items() for key, tensor in named_outputs(value, part).items()}


def _task_of(model: nn.Module) -> str:
    """Returns what a model is for; one that cannot be exported for images of any size is an error."""
    if find_backbone(model) is model:
        return 'backbone'
    head = getattr(model, 'decode_head', getattr(model, 'head', None))
    if not hasattr(model, 'extract_feat') or head is None:
        raise ValueError(f'{type(model).__name__} is neither a classifier (extract_feat and head) nor a segmentor '
                         "(extract_feat and decode_head); export its backbone: part='backbone' (--part backbone)")
    if not hasattr(model, 'decode_head'):
        return 'classifier'
    if getattr(head[-1] if isinstance(head, nn.ModuleList) else head, 'align_corners', False):
        raise ValueError("decode_head.align_corners=True: MMSegmentation's resizing reads sizes as numbers then, which "
                         'binds a graph to one size; only align_corners=False can be exported')
    return 'segmentor'


class PoolingByMatrices(nn.Module):
    """Computes what ``nn.AdaptiveAvgPool2d`` does, which ONNX lacks for maps of any size, by a product along each axis.

    Args:
        output_size: As ``nn.AdaptiveAvgPool2d`` takes it; None keeps the length of an axis.
    """

    def __init__(self, output_size: Union[int, Tuple[Optional[int], Optional[int]]]) -> None:
        super().__init__()
        self.output_size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Pools maps (B, C, H, W)."""
        for axis, size in zip((-2, -1), self.output_size):
            if size is not None:
                x = (x.transpose(-1, axis) @ _windows(x.shape[axis], size, x)).transpose(-1, axis)
        return x


def _windows(length: int, size: int, like: Tensor) -> Tensor:
    """Returns the matrix (length, size) whose columns average from floor(i L / S) up to ceil((i + 1) L / S)."""
    place = torch.arange(length, device=like.device)[:, None]
    number = torch.arange(size, device=like.device)
    # Written without a division: a place lies in the window if it ends after its beginning and begins before its end.
    inside = ((place + 1) * size > number * length) & (place * size < (number + 1) * length)
    weights = inside.to(like.dtype)
    return weights / weights.sum(dim=0, keepdim=True)
