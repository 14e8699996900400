"""Prepares images and label maps for dense retrieval."""

from __future__ import annotations

from typing import Any, Dict, Optional, Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from torch import Tensor
from torchvision.transforms import ColorJitter, InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as image_functions

from .hummingbird import check_protocol

MEAN = (0.485, 0.456, 0.406)
# The published code has 0.255 where ImageNet's standard deviation is 0.225.
STD = {'published': (0.229, 0.224, 0.255), 'clean': (0.229, 0.224, 0.225)}


@TRANSFORMS.register_module()
class RetrievalTransform(BaseTransform):
    """Brings an image and its labels to the size of the features' model, normalised.

    Images of the memory get the published augmentation: brightness, contrast, saturation and hue by up to 0.1, each
    with probability 0.5, and after normalisation a random crop of 0.5 to 2 times the area, ratio 3/4 to 4/3. The random
    numbers of an image follow from ``seed`` and its place in the data set alone, counted by the loop through all parts
    of a ``ConcatDataset``: the memory does not depend on the number of processes or workers. Images of a test are
    squashed to the size.

    Args:
        training: Whether images are those of the memory.
        size: Height and width in px. Defaults to 224.
        protocol: 'published' or 'clean': the standard deviation of the normalisation. Defaults to the loop's.
        seed: Seed of the augmentation. Defaults to 0.
        mean: Of the normalisation, RGB, for pixels from 0 to 1. Defaults to ImageNet's.
        std: Standard deviation likewise. Defaults to the protocol's.

    Attributes:
        first_image: Images in parts of the data set before the transform's own; 0 unless the loop says otherwise.

    Raises:
        ValueError: The protocol does not exist.
    """

    first_image = 0

    def __init__(self, training: bool, size: int = 224, protocol: Optional[str] = None, seed: int = 0,
                 mean: Sequence[float] = MEAN, std: Optional[Sequence[float]] = None) -> None:
        if protocol is not None:
            check_protocol(protocol)
        self.training, self.size, self.protocol, self.seed = training, size, protocol, seed
        self.mean, self.std = mean, std

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Replaces 'img' (BGR, uint8) by float32 RGB, (size, size, 3), and 'gt_seg_map' by (size, size).

        Raises:
            ValueError: Neither the transform nor the loop has stated the protocol.
        """
        if self.protocol is None:
            raise ValueError("RetrievalTransform has no protocol; test_cfg=dict(type='RetrievalLoop', ...) states it, "
                             "or protocol='published' or 'clean' of the transform itself")
        image = torch.from_numpy(np.ascontiguousarray(results['img'][..., ::-1])).permute(2, 0, 1)
        labels = torch.from_numpy(np.ascontiguousarray(results['gt_seg_map']))[None]
        with torch.random.fork_rng(devices=[]):
            place = self.first_image + results['sample_idx']
            torch.default_generator.manual_seed(hash((self.seed, place)))  # not the GPUs' too
            image, labels = self._augmented(image, labels) if self.training else self._squashed(image, labels)
        results['img'] = image.permute(1, 2, 0).numpy()
        results['gt_seg_map'] = labels[0].numpy()
        results['img_shape'] = results['gt_seg_map'].shape
        return results

    def _augmented(self, image: Tensor, labels: Tensor):
        for kind in ('brightness', 'contrast', 'saturation', 'hue'):
            if torch.rand(()) < 0.5:
                image = ColorJitter(**{kind: 0.1})(image)
        image = self._normalised(image)
        box = RandomResizedCrop.get_params(image, (0.5, 2), (3 / 4, 4 / 3))
        size = [self.size, self.size]
        return (image_functions.resized_crop(image, *box, size, antialias=True),
                image_functions.resized_crop(labels, *box, size, InterpolationMode.NEAREST))

    def _squashed(self, image: Tensor, labels: Tensor):
        size = [self.size, self.size]
        return (self._normalised(image_functions.resize(image, size, antialias=True)),
                image_functions.resize(labels, size, InterpolationMode.NEAREST))

    def _normalised(self, image: Tensor) -> Tensor:
        return image_functions.normalize(image.float() / 255, self.mean, self.std or STD[self.protocol])
