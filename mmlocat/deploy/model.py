"""What is exported: a trained model as one function of images, every step of which has a form for any size."""

from __future__ import annotations

import copy
from typing import Any, Dict, Tuple

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmlocat.attention import GaussianAttention
from mmlocat.checkpoints import CheckpointError, read_checkpoint
from mmlocat.models import LocAtViT
from mmlocat.models.building import build_model
from mmlocat.training.initial_weights import check_model_weights

from .pooling import make_pooling_exportable

PARTS = ('model', 'backbone')
# One matrix of N x N logits a head is in the graph anyway: there is no fused attention in it to save them.
_ATTENTION_BACKEND = 'sdpa'


def load_model(config: Config, checkpoint: str, part: str = 'model',
               trust_pickle: bool = False) -> Tuple[nn.Module, Dict[str, Any]]:
    """Builds the model of a config, or its backbone alone, with trained weights, in evaluation mode.

    Args:
        config: Of MMPretrain or MMSegmentation.
        checkpoint: As ``read_checkpoint`` takes it: of the whole model, or for a backbone of any model around it.
        part: 'model' or 'backbone'.
        trust_pickle: Whether a pickle may hold anything.

    Returns:
        The model, and what the checkpoint says about itself.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        RuntimeError: It cannot be read, or does not fit.
        ValueError: ``part`` is unknown, or the backbone is no LocAtViT.
    """
    if part not in PARTS:
        raise ValueError(f'part={part!r} is unknown; choose one of {", ".join(PARTS)}')
    read = read_checkpoint(checkpoint, trust_pickle=trust_pickle)
    model = build_model(config, 'cpu')
    backbone = getattr(model, 'backbone', None)
    if not isinstance(backbone, LocAtViT):
        raise ValueError(f'the backbone of this config is {type(backbone).__name__}; mmlocat exports LocAtViT (plain '
                         'ViTs too: gaug=False), for others there is mmdeploy')
    state = read.state_dict
    if part == 'backbone':
        model = backbone
        state._metadata = {'': {'ref_grid': read.ref_grid}}
        try:
            model.load_state_dict(state, strict=False)  # its load hook is strict, and says what is wrong
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f'{checkpoint}: {error}') from error
    else:
        check_model_weights(config, checkpoint, trust_pickle)
        model.load_state_dict(state, strict=False)
    model.eval()  # which returns None in MMPretrain
    return model, read.meta


def task_of(model: nn.Module) -> str:
    """Returns 'backbone', 'classifier' or 'segmentor'.

    Raises:
        ValueError: The model is none of them, or has no form that takes images of any size.
    """
    if isinstance(model, LocAtViT):
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


def reference(model: nn.Module, images: Tensor) -> Tuple[Tensor, ...]:
    """Returns what MMPretrain's or MMSegmentation's own code computes for normalised images (B, 3, H, W)."""
    task = task_of(model)
    with torch.no_grad():
        if task == 'backbone':
            return tuple(model(images))
        if task == 'classifier':
            return (model(images, mode='tensor'), )
        return (model.encode_decode(images, [dict(img_shape=tuple(images.shape[2:]))] * len(images)), )


class Exportable(nn.Module):
    """A copy of a model as a function of images alone.

    Args:
        model: What ``load_model`` returned; left as it is.
        pixels: Whether images come as RGB values from 0 to 255, normalised inside; else normalised already.

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
        backbone = self.backbone
        if backbone.pos_embed is not None and backbone.interpolate_mode not in ('bicubic', 'bilinear'):
            raise ValueError(f'interpolate_mode={backbone.interpolate_mode!r} of the position embedding has no form '
                             "for any size; only 'bicubic' and 'bilinear' can be exported")
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
    def backbone(self) -> LocAtViT:
        """The LocAtViT inside."""
        return self.model if self.task == 'backbone' else self.model.backbone

    def names(self) -> Tuple[str, ...]:
        """Returns the names of the outputs."""
        if self.task == 'backbone':
            return tuple(f'block_{index}' for index in sorted(self.backbone.out_indices))
        return ('logits', )

    def normalise(self, images: Tensor) -> Tensor:
        """Returns images as the model takes them."""
        return (images - self.mean) / self.std if self.pixels else images

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Computes outputs of images (B, 3, height, width).

        Returns:
            Of a backbone its features; of a classifier logits (B, classes); of a segmentor logits
            (B, classes, height, width).
        """
        images = self.normalise(images)
        if self.task == 'backbone':
            return tuple(self.model(images))
        features = self.model.extract_feat(images)
        if self.task == 'classifier':
            return (self.model.head(features), )
        logits = self.model.decode_head(features)
        return (interpolate(logits, size=images.shape[2:], mode='bilinear', align_corners=False), )
