"""Turns a trained model into one function of images for export, in which every step works for any image size."""

from __future__ import annotations

import copy
from typing import Tuple

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmlocat.attention import GaussianAttention
from mmlocat.checkpoints import read_checkpoint
from mmlocat.models.backbones.protocol import find_backbone
from mmlocat.models.building import build_model, load_weights

from .pooling import make_pooling_exportable

PARTS = ('model', 'backbone')
# The exported graph holds one N x N matrix of logits a head anyway, for it has no fused attention that would avoid it.
_ATTENTION_BACKEND = 'sdpa'


def load(config: Config, checkpoint: str, part: str = 'model', trust_pickle: bool = False) -> nn.Module:
    """Builds the model of a config, or its backbone alone, with trained weights, in evaluation mode.

    Args:
        config: A config of MMPretrain or MMSegmentation.
        checkpoint: As ``read_checkpoint`` takes it: of the whole model; for a backbone, of any model that contains it.
        part: 'model' or 'backbone'.
        trust_pickle: Whether a pickle may hold anything; it can run code.

    Returns:
        The model; its attribute ``checkpoint_meta`` holds the checkpoint's metadata.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        RuntimeError: It cannot be read, or does not fit.
        ValueError: ``part`` is unknown, or the backbone is not of the LocAt family.
    """
    if part not in PARTS:
        raise ValueError(f'part={part!r} is unknown; choose one of {", ".join(PARTS)}')
    read = read_checkpoint(checkpoint, trust_pickle=trust_pickle)
    model = build_model(config)
    backbone = find_backbone(model)
    if backbone is None:
        raise ValueError(f'the backbone of this config is {type(getattr(model, "backbone", None)).__name__}; mmlocat '
                         'exports LocAtViT and its siblings (plain ViTs too: gaug=False), for others there is mmdeploy')
    model = backbone if part == 'backbone' else model
    load_weights(model, read)
    return model


def task_of(model: nn.Module) -> str:
    """Returns 'backbone', 'classifier' or 'segmentor'.

    Raises:
        ValueError: The model is none of these, or cannot be exported for images of any size.
    """
    if find_backbone(model) is model:
        return 'backbone'
    if not hasattr(model, 'extract_feat') or not any(hasattr(model, name) for name in ('head', 'decode_head')):
        raise ValueError(f'{type(model).__name__} is neither a classifier (extract_feat and head) nor a segmentor '
                         "(extract_feat and decode_head); export its backbone: part='backbone' (--part backbone)")
    if not hasattr(model, 'decode_head'):
        return 'classifier'
    if isinstance(model.decode_head, nn.ModuleList):
        raise ValueError(f'{type(model).__name__} has {len(model.decode_head)} decode heads in a row, which is not '
                         "supported; export its backbone: part='backbone' (--part backbone)")
    if getattr(model.decode_head, 'align_corners', False):
        raise ValueError("decode_head.align_corners=True: MMSegmentation's resizing reads sizes as numbers then, which "
                         'binds a graph to one size; only align_corners=False can be exported')
    return 'segmentor'


class Exportable(nn.Module):
    """A copy of a model as a function of images alone.

    Args:
        model: What ``load`` returned; it is not changed.
        pixels: Whether images are RGB values from 0 to 255, which are normalised inside, instead of normalised ones.

    Raises:
        ValueError: The model cannot be exported, or has no normalisation for ``pixels``.
    """

    def __init__(self, model: nn.Module, pixels: bool = False) -> None:
        super().__init__()
        self.task = task_of(model)
        self.model = make_pooling_exportable(revert_sync_batchnorm(copy.deepcopy(model)))
        for module in self.model.modules():
            if isinstance(module, GaussianAttention):
                module.backend = _ATTENTION_BACKEND
        preprocessor = getattr(model, 'data_preprocessor', None)
        self.normalises = getattr(preprocessor, 'mean', None) is not None
        if pixels and not self.normalises:
            raise ValueError('the model has no data_preprocessor with mean and std, which pixels=True (--pixels) '
                             'needs; normalise images before they go in')
        self.pixels = pixels
        mean, std = (preprocessor.mean, preprocessor.std) if self.normalises else (torch.zeros(1), torch.ones(1))
        self.register_buffer('mean', mean.detach().clone().view(1, -1, 1, 1))
        self.register_buffer('std', std.detach().clone().view(1, -1, 1, 1))
        self.eval()

    @property
    def backbone(self) -> nn.Module:
        """The backbone inside; see ``protocol.LocAtBackbone``."""
        return find_backbone(self.model)

    def names(self) -> Tuple[str, ...]:
        """Returns the names of the outputs."""
        if self.task != 'backbone':
            return ('logits', )
        last = len(self.backbone.blocks) - 1
        return tuple(f'block_{index}' for index in sorted(getattr(self.backbone, 'out_indices', (last, ))))

    def normalise(self, images: Tensor) -> Tensor:
        """Returns images normalised as the model takes them."""
        return (images - self.mean) / self.std if self.pixels else images

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Computes outputs of images (B, 3, height, width).

        Returns:
            A backbone's features; a classifier's logits (B, classes); a segmentor's logits
            (B, classes, height, width).
        """
        images = self.normalise(images)
        if self.task == 'backbone':
            return tuple(self.model(images))
        logits = self.model(images, mode='tensor')
        if self.task == 'segmentor':
            logits = interpolate(logits, size=images.shape[2:], mode='bilinear', align_corners=False)
        return (logits, )
