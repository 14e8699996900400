"""Works out what a training takes before it runs: the size of its checkpoints, and an estimate of its memory."""

from __future__ import annotations

import copy
import io
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, NamedTuple, Optional

import torch
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, UntypedStorage, nn
from torch.autograd.graph import saved_tensors_hooks

from mmlocat.models.building import input_shape

# Bytes of history in a checkpoint for each iteration: some eight scalars, each with a value and a count.
_HISTORY = 8 * 16
# Full-size score maps that a segmentation loss holds at its peak: resized, as logarithms, and their gradient.
_SCORE_MAPS = 3


class Saved(NamedTuple):
    """What the checkpoints of one hook take."""

    each: int  # bytes of one file
    kept: int  # files of the schedule that are there at the end
    written: int  # files of the schedule in all
    best: int  # files of best scores beside them, without the state of the optimizer
    best_each: int  # bytes of one of these

    @property
    def total(self) -> int:
        """Bytes at the end."""
        return self.each * self.kept + self.best_each * self.best

    @property
    def peak(self) -> int:
        """Bytes while the last file is written, or a best score: older ones are deleted only after that."""
        return self.total + (self.each if self.written > self.kept or self.best else 0)


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Returns the bytes of tensors, shared storage counted once."""
    return sum({tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def optimizer_state(runner: Runner) -> Optional[Dict[str, Any]]:
    """Returns the state that the optimizers will have after a step, on the meta device, which takes no memory.

    None if an optimizer, which may be anybody's, cannot take a step there, or is not built yet, as of a FlexibleRunner.
    """
    try:
        wrapper = runner.optim_wrapper
        wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
        return {str(number): _state_after_a_step(each.optimizer) for number, each in enumerate(wrappers)}
    except Exception:
        return None


def _state_after_a_step(optimizer: torch.optim.Optimizer) -> Dict[str, Any]:
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    memo = {id(value): nn.Parameter(value.to('meta'), value.requires_grad) for value in parameters}
    copied = copy.deepcopy(optimizer, memo)
    for group in copied.param_groups:
        group.update({key: False for key in ('fused', 'foreach') if key in group})  # they need a device that computes
        for parameter in group['params']:
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    copied.step()
    return copied.state_dict()


def saved_by(runner: Runner, hook: CheckpointHook, state: Optional[Dict[str, Any]]) -> Saved:
    """Returns what a hook's checkpoints will take.

    Args:
        runner: A Runner that is ready to train.
        hook: One of its hooks.
        state: That of its optimizers, by ``optimizer_state``; None leaves it out.
    """
    model = getattr(runner.model, 'module', runner.model)
    copies = 1 + sum(isinstance(other, EMAHook) for other in runner.hooks)
    config = runner.cfg.pretty_text  # which MMEngine saves twice, the second time in its message hub
    best_content = dict(weights=model.state_dict(), config=config,
                        dataset=getattr(runner.train_dataloader.dataset, 'metainfo', {}))
    best_each = _stored(best_content) + len(config) + _HISTORY * runner.max_iters
    best_each += (copies - 1) * tensor_bytes(_tensors(best_content))
    each = best_each + (_stored(state) if hook.save_optimizer else 0)
    end = runner.max_epochs if hook.by_epoch else runner.max_iters
    times = [] if hook.interval < 1 else range(max(hook.save_begin, 0), end + 1, hook.interval)
    written = {time for time in times if time > 0} | ({end} if hook.save_last else set())
    kept = min(len(written), hook.max_keep_ckpts) if hook.max_keep_ckpts > 0 else len(written)
    best = hook.save_best or []
    return Saved(each, kept, len(written), 1 if isinstance(best, str) else len(best), best_each)


def _stored(content: Any) -> int:
    """Returns the bytes that ``torch.save`` writes: the tensors, their names, and what it puts around each."""
    emptied = io.BytesIO()
    torch.save(_emptied(content), emptied)
    return tensor_bytes(_tensors(content)) + emptied.tell()


def _tensors(node: Any) -> Iterator[Tensor]:
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, (dict, list, tuple)):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _tensors(child)


def _emptied(node: Any) -> Any:
    """Returns nested data with a tensor without elements in place of each."""
    if isinstance(node, Tensor):
        return torch.empty(0)
    if isinstance(node, dict):
        return {key: _emptied(value) for key, value in node.items()}
    return [_emptied(value) for value in node] if isinstance(node, (list, tuple)) else node


def free_space(folder: str) -> int:
    """Returns the free bytes where a folder is, or will be made."""
    path = Path(folder).resolve()
    return shutil.disk_usage(next(parent for parent in (path, *path.parents) if parent.exists())).free


@contextmanager
def kept_for_backward(model: nn.Module) -> Iterator[Dict[int, UntypedStorage]]:
    """Counts what autograd keeps for the backward pass, the model's own weights left out.

    Args:
        model: The model that runs; on the meta device nothing is stored.

    Yields:
        Each storage that was kept so far, by its address.
    """
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    found: Dict[int, UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            found[storage._cdata] = storage
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


def memory_estimate(runner: Runner, state: Optional[Dict[str, Any]], kept: Optional[int], half: bool) -> int:
    """Estimates the peak memory of one process: weights, gradients, optimizer, what the backward pass needs, and loss.

    Args:
        runner: A Runner that is ready to train.
        state: That of its optimizers, by ``optimizer_state``; None leaves it out.
        kept: Bytes that the parts of the model keep for the backward pass in float32; None leaves them out.
        half: Whether mixed precision keeps these in half the size.

    Returns:
        Bytes.
    """
    model = runner.model
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    height, width = input_shape(runner.cfg)
    classes = sum(head.out_channels for head in model.modules() if isinstance(head, BaseDecodeHead))
    scores = _SCORE_MAPS * (runner.train_dataloader.batch_size or 1) * classes * height * width * 4
    return (tensor_bytes([*model.parameters(), *model.buffers()]) + tensor_bytes(trained)
            + tensor_bytes(_tensors(state)) + (kept or 0) // (2 if half else 1) + scores)


def in_words(size: float) -> str:
    """Returns bytes in a unit that reads well: '512 kB', '1.2 GB'; thousands, as disks count."""
    units = ('bytes', 'kB', 'MB', 'GB', 'TB')
    power = 0
    while size >= 999.5 and power < len(units) - 1:
        size, power = size / 1000, power + 1
    return f'{size:.3g} {units[power]}'
