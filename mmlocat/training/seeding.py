"""Random augmentations that depend on the seed and on a sample's place in the order, on nothing else.

MMEngine seeds every worker of a data loader once: what a sample's augmentations draw then depends on how many workers
there are and on what they loaded before, so another number of workers, or a resumed run, trains on other images. Here
each sample has a random stream of its own, keyed by (seed, epoch, position in the order of all processes): the same for
any number of workers, for one process and several with the same total batch, and for a run that goes on from a
checkpoint. Loading leaves the process's own random state alone, which belongs to dropout, drop path and mixup.
"""

from __future__ import annotations

import copy
import random
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import DataLoader

from .resolve import resolve_type


class SeededIndex(int):
    """A sample's index that carries the key of its random stream: seed, epoch, position."""

    key: tuple

    def __new__(cls, index: int, key: tuple) -> SeededIndex:
        """Makes an index with a key."""
        self = super().__new__(cls, index)
        self.key = key
        return self

    def __reduce__(self) -> tuple:
        """Workers get their indices pickled."""
        return SeededIndex, (int(self), self.key)


@contextmanager
def random_stream(*key: int) -> Iterator[None]:
    """Lets Python, NumPy and torch (CPU) draw from a stream of their own; puts their states back afterwards.

    Args:
        *key: Whole numbers from 0 on that name the stream.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(words.tobytes())
    np.random.seed(words)
    # Not torch.manual_seed, which would seed the GPUs too: their streams belong to the model.
    torch.default_generator.manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@DATASETS.register_module()
class SeededDataset:
    """Draws each sample's augmentations from that sample's stream; everything else is the wrapped data set's.

    A plain index, which no ``SeededSampler`` gave out, is handed on as it is.

    Args:
        dataset: Config of the data set to wrap.
    """

    def __init__(self, dataset: dict) -> None:
        self.dataset = DATASETS.build(dataset)

    def __getitem__(self, index: int) -> Any:
        """Returns a sample, as the wrapped data set does."""
        key = getattr(index, 'key', None)
        if key is None:
            return self.dataset[index]
        with random_stream(*key):
            return self.dataset[int(index)]

    def __len__(self) -> int:
        """Returns the number of samples."""
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        """Looks up what is not here in the wrapped data set."""
        if name.startswith('__') or name == 'dataset':  # unpickling asks before there is one; no way round the seeding
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets what a hook changes, such as another ``pipeline``, in the wrapped data set, which uses it."""
        if name == 'dataset':
            super().__setattr__(name, value)
        else:
            setattr(self.dataset, name, value)


@DATA_SAMPLERS.register_module()
class SeededSampler:
    """Gives the indices of another sampler, each with the key of its stream; everything else is that sampler's.

    The position counts over all processes: the k-th index of process r of n has k * n + r.

    Args:
        dataset: The data set that is sampled.
        sampler: Config of the sampler to wrap, such as mmengine's ``DefaultSampler`` or ``InfiniteSampler``.
        seed: Of the order and of the streams. That of the wrapped sampler where it is None.
    """

    def __init__(self, dataset: Any, sampler: dict, seed: Optional[int] = None) -> None:
        self.sampler = DATA_SAMPLERS.build(sampler, default_args=dict(dataset=dataset, seed=seed))
        seed = getattr(self.sampler, 'seed', None) if seed is None else seed
        self.stream_seed = sync_random_seed() if seed is None else seed
        self._next_epoch = 0
        self._first = 0

    def set_epoch(self, epoch: int) -> None:
        """Names the next pass; without a call, passes are counted.

        Args:
            epoch: Number of the next pass, from 0.
        """
        self._next_epoch = epoch
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch)

    def start_at(self, count: int) -> None:
        """Lets the next pass leave out its first indices, which a run that is resumed has seen.

        Args:
            count: How many of this process's indices to leave out.
        """
        self._first = count

    def __iter__(self) -> Iterator[SeededIndex]:
        """Goes through one pass."""
        rank, processes = get_dist_info()
        epoch, self._next_epoch = self._next_epoch, self._next_epoch + 1
        first, self._first = self._first, 0
        for count, index in enumerate(self.sampler):
            if count >= first:
                yield SeededIndex(index, (self.stream_seed, epoch, count * processes + rank))

    def __len__(self) -> int:
        """Returns the number of this process's indices in a whole pass."""
        return len(self.sampler)

    def __getattr__(self, name: str) -> Any:
        """Looks up what is not here in the wrapped sampler."""
        if name.startswith('__') or name == 'sampler':
            raise AttributeError(name)
        value = getattr(self.sampler, name)
        # Newer loops of mmengine call ``skip(count)`` where a sampler has it; here, positions must be counted too.
        return self.start_at if name == 'skip' else value


def seeded(loader: Dict[str, Any]) -> Dict[str, Any]:
    """Returns the config of a data loader with data set and sampler wrapped, where they are configs; once is enough.

    Args:
        loader: Config of a data loader; left as it is.
    """
    loader = copy.copy(loader)
    if isinstance(loader.get('dataset'), dict) and resolve_type(loader['dataset'], DATASETS) is not SeededDataset:
        loader['dataset'] = dict(type=SeededDataset, dataset=loader['dataset'])
    if isinstance(loader.get('sampler'), dict) and resolve_type(loader['sampler'], DATA_SAMPLERS) is not SeededSampler:
        loader['sampler'] = dict(type=SeededSampler, sampler=loader['sampler'])
    return loader


def keep_random_state(loaders: List[DataLoader], seed: int) -> None:
    """Gives data loaders a generator of their own, for the seed they draw whenever an iterator is made.

    That draw would otherwise come from the model's stream, once or once an epoch: it depends on the workers.

    Args:
        loaders: Changed in place.
        seed: For the generators.
    """
    for loader in loaders:
        loader.generator = torch.Generator().manual_seed(seed)
