"""Defines DINO's projection head and its loss."""

from __future__ import annotations

from typing import List, Optional, Sequence, Union

import torch
from mmengine.dist import all_reduce
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import linear, log_softmax, normalize


class PrototypeLayer(nn.Module):
    """A linear layer without bias whose rows have a fixed length of 1; parameters as in published checkpoints."""

    def __init__(self, in_channels: int, num_prototypes: int) -> None:
        super().__init__()
        drawn = nn.Linear(in_channels, num_prototypes, bias=False).weight
        self.weight_g = nn.Parameter(torch.ones(num_prototypes, 1), requires_grad=False)
        self.weight_v = nn.Parameter(drawn.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Returns inner products with the rows, (..., num_prototypes)."""
        return linear(x, normalize(self.weight_v, dim=1) * self.weight_g)


@MODELS.register_module()
class DINOHead(BaseModule):
    """Projects class tokens to prototypes and compares the student's with the teacher's.

    Source: DINO (arXiv 2104.14294), which the paper pretrains with. The loss is the mean cross-entropy over pairs of
    a teacher's view and another view of the student; the teacher's outputs are centred and sharpened.

    Args:
        in_channels: Channels of the backbone's output.
        num_prototypes: Outputs. Defaults to 65,536.
        hidden_channels: Channels of the two hidden layers. Defaults to 2048.
        bottleneck_channels: Channels before the prototypes. Defaults to 256.
        student_temperature: Divides the student's outputs. Defaults to 0.1.
        teacher_temperature: Divides the teacher's outputs after warm-up. Defaults to 0.04.
        warmup_teacher_temperature: The same in the first epoch; rises linearly. Defaults to ``teacher_temperature``.
        warmup_teacher_epochs: Epochs of that warm-up. Defaults to 0.
        center_momentum: Of the moving mean of the teacher's outputs. Defaults to 0.9.
        init_cfg: mmengine's initialisation config.

    Raises:
        ValueError: A temperature is not positive, or the momentum is not in [0, 1).
    """

    def __init__(self,
                 in_channels: int,
                 num_prototypes: int = 65536,
                 hidden_channels: int = 2048,
                 bottleneck_channels: int = 256,
                 student_temperature: float = 0.1,
                 teacher_temperature: float = 0.04,
                 warmup_teacher_temperature: Optional[float] = None,
                 warmup_teacher_epochs: int = 0,
                 center_momentum: float = 0.9,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        warmup = teacher_temperature if warmup_teacher_temperature is None else warmup_teacher_temperature
        for name, value in (('student_temperature', student_temperature), ('teacher_temperature', teacher_temperature),
                            ('warmup_teacher_temperature', warmup)):
            if not value > 0:
                raise ValueError(f'{name} must be positive, got {value}')
        if not 0 <= center_momentum < 1:
            raise ValueError(f'center_momentum must lie in [0, 1), got {center_momentum}')
        self.student_temperature, self.center_momentum = student_temperature, center_momentum
        self.teacher_temperature, self.warmup = teacher_temperature, (warmup, warmup_teacher_epochs)
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, hidden_channels), nn.GELU(), nn.Linear(hidden_channels, hidden_channels), nn.GELU(),
            nn.Linear(hidden_channels, bottleneck_channels))
        self.last_layer = PrototypeLayer(bottleneck_channels, num_prototypes)
        self.register_buffer('center', torch.zeros(1, num_prototypes))

    def init_weights(self) -> None:
        """Draws linear layers from a truncated normal of 0.02, with biases 0."""
        super().init_weights()
        for layer in self.mlp[::2]:
            trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, feats: Union[Tensor, Sequence[Tensor]]) -> Tensor:
        """Returns outputs, (B, num_prototypes), of class tokens (B, in_channels), or of the last of several."""
        tokens = feats if isinstance(feats, Tensor) else feats[-1]
        return self.last_layer(normalize(self.mlp(tokens), dim=-1))

    def temperature(self, epoch: int) -> float:
        """Returns the teacher's temperature in an epoch, counted from 0."""
        start, epochs = self.warmup
        if epoch >= epochs:
            return self.teacher_temperature
        return start + (self.teacher_temperature - start) * epoch / max(1, epochs - 1)

    def loss(self, student: List[Tensor], teacher: List[Tensor], epoch: int = 0) -> Tensor:
        """Returns the loss, then moves the centre.

        Args:
            student: Outputs of each view, (B, num_prototypes) each; the first are those of the teacher's views.
            teacher: Outputs of the teacher's views.
            epoch: Counted from 0; sets the teacher's temperature.

        Returns:
            The mean over pairs of different views.
        """
        teacher = [view.detach().float() for view in teacher]
        targets = [((view - self.center) / self.temperature(epoch)).softmax(-1) for view in teacher]
        logs = [log_softmax(view.float() / self.student_temperature, dim=-1) for view in student]
        pairs = [-(target * log).sum(-1).mean() for place, target in enumerate(targets)
                 for other, log in enumerate(logs) if place != other]
        self._move_center(torch.cat(teacher))
        return torch.stack(pairs).mean()

    @torch.no_grad()
    def _move_center(self, teacher: Tensor) -> None:
        mean = teacher.mean(0, keepdim=True)
        all_reduce(mean, 'mean')
        self.center.lerp_(mean, 1 - self.center_momentum)
