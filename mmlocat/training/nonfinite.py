"""Stops a training at the first NaN or infinity in loss or gradients, before it reaches the weights."""

from __future__ import annotations

from functools import partial
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

# Reached from 65536 by 36 overflowing steps in a row; a smaller scale would not help.
_SMALLEST_LOSS_SCALE = 1e-6


class NonFiniteError(RuntimeError):
    """A loss or a gradient is NaN or infinite."""


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Stops a training at the first NaN or infinity, before it reaches the weights.

    The loss is checked after every iteration, the gradients right before the optimizer step; each check copies one
    number to the CPU. With a loss scaler an infinite gradient is normal, and the scaler skips it; then only the loss is
    checked, and whether the scale has become too small. The message names the first parameter, the image of the batch
    or the first gradient that is not finite. ``CheckedRunner`` has this hook; elsewhere, put
    ``custom_hooks = [dict(type='NonFiniteHook')]`` and ``custom_imports = dict(imports=['mmlocat.training'])`` into the
    config.
    """

    priority = 'VERY_HIGH'  # runs before checkpoints are written

    def before_train(self, runner: Runner) -> None:
        """Registers a hook on the optimizers that checks gradients before each step."""
        self._batch = None
        for wrapper in _wrappers(runner):
            if hasattr(wrapper.optimizer, 'register_step_pre_hook'):  # other engines' optimizers lack it
                wrapper.optimizer.register_step_pre_hook(partial(self._check_gradients, runner, wrapper))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keeps the batch, to inspect it if a number is not finite."""
        self._batch = data_batch

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[Dict[str, Any]] = None) -> None:
        """Checks the losses, and every 20 iterations the loss scale.

        Raises:
            NonFiniteError: A loss is not finite, or the loss scale has become too small.
        """
        losses = {name: loss for name, loss in (outputs or {}).items() if 'loss' in name and isinstance(loss, Tensor)}
        if not _agreed(_all_finite(losses.values())):
            bad = [f'{name} is {float(loss.detach().sum()):g}' for name, loss in losses.items()
                   if not _all_finite([loss])]
            self._stop(runner, bad[0] if bad else 'a loss of another process is not finite')
        for wrapper in _wrappers(runner):
            if _scaler_guards(wrapper) and self.every_n_train_iters(runner, 20):
                scale = wrapper.loss_scaler.get_scale()
                if scale < _SMALLEST_LOSS_SCALE:
                    self._stop(runner, f'gradients are not finite at any loss scale (now {scale:g})')

    def _check_gradients(self, runner: Runner, wrapper: OptimWrapper, optimizer: torch.optim.Optimizer,
                         *_: Any) -> None:
        """Checks the gradients of an optimizer, unless a loss scaler does, which then skips the step."""
        parameters = (parameter for group in optimizer.param_groups for parameter in group['params'])
        if not _scaler_guards(wrapper) and not _agreed(_all_finite(
                parameter.grad for parameter in parameters if parameter.grad is not None)):
            self._stop(runner, 'a gradient is not finite')

    def _stop(self, runner: Runner, what: str) -> None:
        epoch = '' if runner.max_epochs == 1 else f' (epoch {runner.epoch + 1})'
        process = f' in process {get_rank()}' if get_world_size() > 1 else ''
        # It is good: nothing that is not finite has reached the weights so far.
        good = runner.message_hub.runtime_info.get('last_ckpt')
        next_step = (f'last good checkpoint: {good}; to go on from it: --resume {good}, with a lower learning rate or '
                     'in float32' if good else 'no checkpoint was saved; start anew with a lower learning rate or in '
                     'float32')
        message = (f'iteration {runner.iter + 1}{epoch}{process}: {what}; {_origin(runner, self._batch)}; '
                   f'{next_step}')
        runner.logger.error(message)
        raise NonFiniteError(message)


def _origin(runner: Runner, batch: Any) -> str:
    """Describes what is not finite first, in this order: parameters, images, gradients."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    spoilt = [name for name, parameter in model.named_parameters() if not _all_finite([parameter])]
    if spoilt:
        return f'first parameter that is not finite: {spoilt[0]} ({len(spoilt)} in all)'
    inputs, samples = (batch.get('inputs'), batch.get('data_samples')) if isinstance(batch, dict) else (None, None)
    for place, crop, image in _images(inputs if inputs is not None else []):
        if isinstance(image, Tensor) and not _all_finite([image]):
            path = getattr(samples[place], 'img_path', None) if samples is not None else None
            which = (path or f'{place} of the batch') + ('' if crop is None else f' (crop {crop})')
            return f'all parameters are finite, but image {which} is not'
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    spoilt = [name for name, gradient in gradients.items() if not _all_finite([gradient])]
    # Clipping, which comes before the check, spreads a NaN over all gradients.
    which = f'; first gradient that is not: that of {spoilt[0]} ({len(spoilt)} of {len(gradients)})' if spoilt else ''
    return f'all parameters and images are finite{which}'


def _images(inputs: Iterable[Any]) -> Iterator[Tuple[int, Optional[int], Any]]:
    """Yields place in the batch, number of the crop (None if there is but one) and image, each counted from 0.

    Of several crops an image, a batch has a list: first all first crops, stacked or in a list, then all second ones.
    """
    for number, entry in enumerate(inputs):
        if isinstance(entry, (list, tuple)) or isinstance(entry, Tensor) and entry.dim() == 4:
            yield from ((place, number, image) for place, image in enumerate(entry))
        else:
            yield number, None, entry


def _wrappers(runner: Runner) -> List[OptimWrapper]:
    """Returns the optimizer wrappers as a list; there may be several."""
    wrapper = runner.optim_wrapper
    return [wrapper] if hasattr(wrapper, 'optimizer') else list(wrapper.values())


def _scaler_guards(wrapper: OptimWrapper) -> bool:
    """Whether a loss scaler checks the gradients already, and skips a step whose gradients are not finite."""
    scaler = getattr(wrapper, 'loss_scaler', None)
    return scaler is not None and scaler.is_enabled()


def _agreed(finite: bool) -> bool:
    """Whether numbers are finite in all processes; the others would wait forever for one that stops alone."""
    flag = torch.tensor(float(finite))
    all_reduce(flag, 'min')  # of one process: nothing
    return bool(flag)


def _all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers of dense tensors are finite; synchronises with their device once."""
    largest = [torch.linalg.vector_norm(tensor.detach(), float('inf')).float() for tensor in tensors
               if tensor.is_floating_point() and tensor.numel() and not tensor.is_sparse]
    if not largest:
        return True
    return bool(torch.isfinite(torch.stack([norm.to(largest[0].device) for norm in largest])).all())
