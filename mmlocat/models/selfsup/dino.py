"""Defines DINO: a student that predicts, from any crop, what its own moving average sees in the whole image."""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any, Dict, List, Optional, Sequence, Union

import torch
from mmengine.logging import MessageHub
from mmengine.model import ExponentialMovingAverage
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class DINO(BaseSelfSupervisor):
    """Self-supervised pretraining by self-distillation.

    Source: DINO (arXiv 2104.14294), with which the paper pretrains ViT-S/16 and LocAtViT-S/16. ``DINOHook`` moves the
    teacher after each update. In checkpoints the teacher is ``teacher.module``; other models with a LocAt backbone take
    the teacher's from them, not the student's, by ``checkpoint=``, ``load_from`` and ``load_model``.

    Args:
        backbone: Gives one feature (B, C), such as LocAtViT with ``out_type='cls_token'``, or all tokens for a neck.
        neck: Such as ``PatchRefinement``, which makes a class token of them. Defaults to None.
        head: A ``DINOHead``.
        num_teacher_views: The first views, which the teacher sees. Defaults to 2.
        momentum: The teacher's weight in its first update; it rises to 1 along a cosine. Defaults to 0.996.
        data_preprocessor: Defaults to mmpretrain's ``SelfSupDataPreprocessor``.
        init_cfg: mmengine's initialisation config.

    Attributes:
        needed_hooks: Hooks without which it does not train as it should.
        shardable: Whether FSDP may split its weights: student and teacher would be split at different places, and
            gradients could not be clipped by the norm of a whole parameter.

    Raises:
        ValueError: ``momentum`` does not lie in (0, 1).
    """

    needed_hooks = ('DINOHook', )
    shardable = False

    def __init__(self,
                 backbone: dict,
                 neck: Optional[dict] = None,
                 head: Optional[dict] = None,
                 num_teacher_views: int = 2,
                 momentum: float = 0.996,
                 data_preprocessor: Optional[Union[dict, nn.Module]] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(backbone, neck, head, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if not 0 < momentum < 1:
            raise ValueError(f'momentum must lie in (0, 1), got {momentum}')
        self.num_teacher_views, self.momentum = num_teacher_views, momentum
        self.teacher = ExponentialMovingAverage(self._student(), momentum=1 - momentum)
        # mmengine's average (0.10.7 and OneDL's 0.10.12) copies the student in its first step; DINO's teacher starts as
        # a copy and never jumps.
        self.teacher.steps.fill_(1)
        for module in self.teacher.module.modules():
            if hasattr(module, 'drop_prob'):
                module.drop_prob = 0.  # stochastic depth is the student's alone

    def _student(self) -> nn.ModuleDict:
        return nn.ModuleDict({name: part for name, part in (
            ('backbone', self.backbone), ('neck', self.neck), ('head', self.head)) if part is not None})

    def init_weights(self) -> None:
        """Draws the student's weights, class token included, and gives the teacher the same; once."""
        if self.is_init:
            return
        super().init_weights()
        token = getattr(self.backbone, 'cls_token', None)
        if token is not None and not getattr(self.backbone, 'init_cfg', None):
            trunc_normal_(token, std=0.02)
        self.teacher.module.load_state_dict(self._student().state_dict())

    def loss(self, inputs: List[Tensor], data_samples: Sequence[Any], **kwargs: Any) -> Dict[str, Tensor]:
        """Returns the loss of one batch.

        Args:
            inputs: Views, (B, 3, height, width) each; those of the teacher first.
            data_samples: Not used.
            **kwargs: Not used.
        """
        hub = MessageHub.get_current_instance()
        epoch = hub.get_info('epoch') if 'epoch' in hub.runtime_info else 0
        student = self._outputs(self._student(), inputs)
        with torch.no_grad():
            teacher = self._outputs(self.teacher.module, inputs[:self.num_teacher_views])
        return dict(loss=self.head.loss(student, teacher, epoch))

    @staticmethod
    def _outputs(model: nn.ModuleDict, views: Sequence[Tensor]) -> List[Tensor]:
        """Runs backbone, neck and head; views of one size in a row go through the backbone together."""
        features = []
        for _, same in groupby(views, key=lambda view: view.shape[-2:]):
            tokens = model['backbone'](torch.cat(list(same)))
            features.append((model['neck'](tokens) if 'neck' in model else tokens)[-1])
        return list(model['head'](torch.cat(features)).chunk(len(views)))

    @torch.no_grad()
    def update_teacher(self, iteration: int, max_iters: int) -> None:
        """Moves the teacher towards the student, after the student's update.

        Args:
            iteration: Of the update, from 0.
            max_iters: Iterations of the training.
        """
        cosine = (1 + math.cos(math.pi * iteration / max_iters)) / 2
        self.teacher.momentum = (1 - self.momentum) * cosine
        self.teacher.update_parameters(self._student())
