"""Stops a training at the first NaN or infinity in loss or gradients, and reports where it first appeared."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import CheckpointLoader, Runner
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

# Reached from 65536 by 36 overflowing steps in a row; a smaller scale would not help.
_SMALLEST_LOSS_SCALE = 1e-6


# Modules whose forward or backward pass waits for the other processes.
_TALKING = (nn.SyncBatchNorm, FullyShardedDataParallel)


class NonFiniteError(RuntimeError):
    """A loss or a gradient is NaN or infinite."""


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Stops a training at the first NaN or infinity, before it reaches the weights.

    The loss is checked after every iteration, the gradients right before the optimizer step; each check copies one
    number to the CPU. With a loss scaler an infinite gradient is normal, and the scaler skips it; then only the loss is
    checked, and whether the scale has become too small. After a failure the hook searches for the origin: parameters,
    then the images of the batch, then the forward and backward pass, which it repeats. ``CheckedRunner`` has it;
    elsewhere, put ``custom_hooks = [dict(type='NonFiniteHook')]`` and
    ``custom_imports = dict(imports=['mmlocat.training'])`` into the config.
    """

    priority = 'VERY_HIGH'  # runs before checkpoints are written

    def before_train(self, runner: Runner) -> None:
        """Registers a hook on the optimizers that checks gradients before each step."""
        self._batch = None
        self._handles = []
        self._since = 0. if runner.cfg.get('resume') else time.time()
        for wrapper in _wrappers(runner):
            def check(optimizer: torch.optim.Optimizer, *_: Any, wrapper: OptimWrapper = wrapper) -> None:
                if not _scaler_guards(wrapper) and not _agreed(runner, _all_finite(_gradients(optimizer))):
                    self._stop(runner, 'a gradient is not finite')
            if hasattr(wrapper.optimizer, 'register_step_pre_hook'):  # other engines' optimizers lack it
                self._handles.append(wrapper.optimizer.register_step_pre_hook(check))

    def after_train(self, runner: Runner) -> None:
        """Removes the hooks from the optimizers."""
        for handle in self._handles:
            handle.remove()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keeps the batch, to inspect it if a number is not finite."""
        self._batch = data_batch

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[Dict[str, Any]] = None) -> None:
        """Checks the losses, and every 20 iterations the loss scale.

        Raises:
            NonFiniteError: A loss is not finite, or the loss scale has become too small.
        """
        losses = {name: loss for name, loss in (outputs or {}).items() if 'loss' in name}
        if not _all_finite(_tensors(losses)):
            for name, loss in losses.items():
                if not _all_finite(_tensors(loss)):
                    self._stop(runner, f'{name} is {float(loss.detach().sum()):g}')
        for wrapper in _wrappers(runner):
            if _scaler_guards(wrapper) and self.every_n_train_iters(runner, 20):
                scale = wrapper.loss_scaler.get_scale()
                if scale < _SMALLEST_LOSS_SCALE:
                    self._stop(runner, f'gradients are not finite at any loss scale (now {scale:g})')

    def _stop(self, runner: Runner, what: str) -> None:
        epoch = '' if runner.max_epochs == 1 else f' (epoch {runner.epoch + 1})'
        process = f' in process {get_rank()}' if get_world_size() > 1 else ''
        good = last_good_checkpoint(runner, self._since)
        next_step = (f'last good checkpoint: {good}; to go on from it: --resume {good}, with a lower learning rate or '
                     'in float32' if good else 'no good checkpoint was saved; start anew with a lower learning rate or '
                     'in float32')
        message = (f'iteration {runner.iter + 1}{epoch}{process}: {what}; {_what_went_first(runner, self._batch)}; '
                   f'{next_step}')
        runner.logger.error(message)
        raise NonFiniteError(message)


def last_good_checkpoint(runner: Runner, since: float = 0.) -> Optional[str]:
    """Returns the latest checkpoint to resume from whose weights are all finite; candidates are read to check that.

    Args:
        runner: The training's Runner.
        since: Seconds since the epoch; older files belong to another training.
    """
    last = runner.message_hub.runtime_info.get('last_ckpt')
    folder = Path(last).parent if last else Path(runner.work_dir)
    times = {file: file.stat().st_mtime for file in folder.glob('*.pth')}
    for file in sorted((file for file in times if times[file] >= since), key=times.get, reverse=True):
        try:
            checkpoint = CheckpointLoader.load_checkpoint(str(file), map_location='cpu', logger='silent')
        except Exception:  # a truncated or foreign file
            continue
        if 'optimizer' in checkpoint and _all_finite(list(_tensors(checkpoint['state_dict']))):
            return str(file)
    return None


def _what_went_first(runner: Runner, batch: Any) -> str:
    """Finds what is not finite first, in this order: parameters, images, a module's output, a parameter's gradient."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    spoilt = [name for name, parameter in model.named_parameters() if not _all_finite([parameter])]
    if spoilt:
        return f'first parameter that is not finite: {spoilt[0]} ({len(spoilt)} in all)'
    image = _first_bad_image(batch)
    if image:
        return f'all parameters are finite, but {image} is not'
    if get_world_size() > 1 and any(isinstance(module, _TALKING) for module in runner.model.modules()):
        return 'all parameters are finite'  # repeating the pass in this process alone would wait for the others
    outputs, gradients, failure = _repeat(runner, model, batch)
    if outputs:
        return f'all parameters are finite; first output that is not: that of {outputs[0]}'
    if gradients:
        return f'all parameters and outputs are finite; first gradient that is not: that of {gradients[0]}'
    return f'all parameters are finite, and the pass, repeated, {failure or "is too (another process, or chance)"}'


def _repeat(runner: Runner, model: nn.Module, batch: Any) -> Tuple[List[str], List[str], str]:
    """Repeats forward and backward pass; returns non-finite outputs and gradients, in order, and the error, if any."""
    outputs, gradients, handles = [], [], []

    def watch(name: str, module: nn.Module) -> None:
        def after_forward(module: nn.Module, _: Any, output: Any) -> None:
            if not _all_finite(list(_tensors(output))):
                outputs.append(f'{name or "the model"} ({type(module).__name__})')
        handles.append(module.register_forward_hook(after_forward))

    def watch_gradient(name: str, parameter: Tensor) -> None:
        def after_backward(gradient: Tensor) -> None:
            if not _all_finite([gradient]):
                gradients.append(name)
        handles.append(parameter.register_hook(after_backward))

    for name, module in model.named_modules():
        watch(name, module)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            watch_gradient(name, parameter)
    try:
        with torch.enable_grad(), _wrappers(runner)[0].optim_context(model):
            data = model.data_preprocessor(batch, True)
            losses = model(**data, mode='loss') if isinstance(data, dict) else model(*data, mode='loss')
            loss, _ = model.parse_losses(losses)
        loss.backward()
    except Exception as error:
        return outputs, gradients, f'failed: {type(error).__name__}: {error}'
    finally:
        for handle in handles:
            handle.remove()
    return outputs, gradients, ''


def _first_bad_image(batch: Any) -> Optional[str]:
    """Returns the path or position of the first image of a batch with a non-finite number; None if there is none."""
    images = batch.get('inputs') if isinstance(batch, dict) else None
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    for place, image in enumerate(images if images is not None else []):
        if not _all_finite(list(_tensors(image))):
            path = getattr(samples[place], 'img_path', None) if samples is not None else None
            return f'image {path}' if path else f'image {place} of the batch'
    return None


def _wrappers(runner: Runner) -> List[OptimWrapper]:
    """Returns the optimizer wrappers as a list; there may be several."""
    wrapper = runner.optim_wrapper
    return [wrapper] if hasattr(wrapper, 'optimizer') else list(wrapper.values())


def _agreed(runner: Runner, finite: bool) -> bool:
    """Whether gradients are finite in all processes; with FSDP, where each holds a shard, it asks the others."""
    if not any(isinstance(module, FullyShardedDataParallel) for module in runner.model.modules()):
        return finite
    flag = torch.tensor(float(finite), device=next(runner.model.parameters()).device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MIN)
    return bool(flag)


def _scaler_guards(wrapper: OptimWrapper) -> bool:
    """Whether a loss scaler checks the gradients already, and skips a step whose gradients are not finite."""
    scaler = getattr(wrapper, 'loss_scaler', None)
    return scaler is not None and scaler.is_enabled()


def _gradients(optimizer: torch.optim.Optimizer) -> List[Tensor]:
    parameters = (parameter for group in optimizer.param_groups for parameter in group['params'])
    return [parameter.grad for parameter in parameters if parameter.grad is not None and not parameter.grad.is_sparse]


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yields the tensors of nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _all_finite(tensors: Iterator[Tensor]) -> bool:
    """Whether all numbers of the tensors are finite; synchronises with their device once."""
    largest = [torch.linalg.vector_norm(tensor.detach(), float('inf')).float() for tensor in tensors
               if tensor.is_floating_point() and tensor.numel()]
    if not largest:
        return True
    return bool(torch.isfinite(torch.stack([norm.to(largest[0].device) for norm in largest])).all())
