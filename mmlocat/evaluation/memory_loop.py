"""The base of test loops that fill a memory with the training set before they test."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Iterator, Sequence, Tuple, Union

import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from .bank import Bank

_NEEDED = 'memory_dataloader needs a DefaultSampler with shuffle=False and no drop_last'


class MemoryLoop(TestLoop):
    """Runs the model over the images of the memory, then over those of the test.

    Every process holds the whole memory, once, on the device of the model.

    Args:
        runner: The Runner.
        dataloader: Test images.
        evaluator: Metrics of the test.
        memory_dataloader: Training images; its sampler must not shuffle or drop images.
        fp16: As in mmengine's ``TestLoop``.

    Raises:
        ValueError: ``memory_dataloader`` shuffles or drops images.
    """

    def __init__(self, runner: Runner, dataloader: Union[DataLoader, dict], evaluator: Union[Evaluator, dict, list],
                 memory_dataloader: Union[DataLoader, dict], fp16: bool = False) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self.memory_loader = runner.build_dataloader(memory_dataloader)
        _check_order(self.memory_loader)

    @abstractmethod
    def build_memory(self) -> None:
        """Fills the memory with all training images, in every process."""

    @abstractmethod
    def rows(self, inputs: Tensor, samples: list, numbers: range) -> Tuple[Tensor, ...]:
        """Computes what the memory keeps of some images, tensors (images, ...).

        Args:
            inputs: The images.
            samples: Their data samples.
            numbers: Their places in the data set.
        """

    @abstractmethod
    def predict(self, inputs: Tensor, samples: list) -> None:
        """Writes predictions into the data samples."""

    def all_rows(self) -> Iterator[Tuple[Tensor, ...]]:
        """Yields the rows of all training images, a batch of every process at a time, in the order of the data set.

        Raises:
            ValueError: The data loader left images out.
        """
        images, world, seen = len(self.memory_loader.dataset), get_world_size(), 0
        steps = len(self.memory_loader)
        for step, batch in enumerate(self.memory_loader, 1):
            inputs, samples = self.preprocessed(batch)
            numbers = range(seen + get_rank(), seen + len(samples) * world, world)
            # The sampler repeats the first images until every process has as many: those are cut off.
            yield tuple(_joined(rows)[:max(0, images - seen)] for rows in self.rows(inputs, samples, numbers))
            seen += len(samples) * world
            if step % 50 == 0 or step == steps:
                self.runner.logger.info(f'Memory [{step}/{steps}]')
        if seen < images or not images:
            raise ValueError(f'the memory got {seen} of {images} images; {_NEEDED}')

    def bank(self, rows: int, like: Sequence[Tensor]) -> Bank:
        """Allocates a memory and logs how large it is, before it is filled."""
        bank = Bank(rows, like)
        self.runner.logger.info(f'Memory: {bank.text}' + (', in every process' if get_world_size() > 1 else ''))
        return bank

    def preprocessed(self, batch: dict) -> Tuple[Tensor, list]:
        """Returns the inputs and data samples that the model's preprocessor makes of a batch."""
        data = self.model.data_preprocessor(batch, False)
        return data['inputs'], data['data_samples']

    @property
    def model(self) -> nn.Module:
        """The model without the wrapper of a distributed run."""
        return self.runner.model.module if is_model_wrapper(self.runner.model) else self.runner.model

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Predicts one batch from the memory; the first fills it, when hooks have set the weights that are tested."""
        if idx == 0:
            self.build_memory()
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        inputs, samples = self.preprocessed(data_batch)
        self.predict(inputs, samples)
        self.evaluator.process(data_samples=samples, data_batch=data_batch)
        self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=self.shown(samples))

    def shown(self, samples: list) -> list:
        """Returns the data samples as hooks get them."""
        return samples


def _check_order(loader: DataLoader) -> None:
    """Raises a ValueError unless a data loader gives every image, in the order of the data set.

    A shuffled one would go unnoticed: images would be numbered, and repeated ones cut off, as if they were in order.
    """
    batches = loader.batch_sampler
    sampler = getattr(batches, 'sampler', loader.sampler)
    if getattr(sampler, 'shuffle', isinstance(sampler, RandomSampler)):
        raise ValueError(f'the sampler of the memory, {type(sampler).__name__}, shuffles; {_NEEDED}')
    if getattr(batches, 'drop_last', False):
        raise ValueError(f'drop_last=True would leave images out of the memory; {_NEEDED}')


def class_names(dataset: Any) -> Sequence[str]:
    """Returns the names of a data set's classes.

    Raises:
        ValueError: It has none.
    """
    names = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if not names:
        raise ValueError(f'{type(dataset).__name__} names no classes; give it '
                         "test_dataloader.dataset.metainfo=dict(classes=(...)), and the memory's data set the same")
    return names


def _joined(rows: Tensor) -> Tensor:
    """Joins the rows of every process, (n, ...) each, in the order of the data set."""
    if get_world_size() == 1:
        return rows
    return torch.stack(all_gather(rows.contiguous()), 1).flatten(0, 1)  # process r has images r, r + world, ...
