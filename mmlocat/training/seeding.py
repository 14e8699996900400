"""Makes random augmentations depend only on the seed and on a sample's position in the order.

MMEngine seeds every worker of a data loader once: a sample's augmentations then depend on the number of workers and on
what they loaded before, so another number of workers, or a resumed run, trains on other images. Here each sample has
its own random stream, keyed by (seed, epoch, position in the order of all processes): the same for any number of
workers, for one process and several with the same total batch, and for a resumed run. Loading does not change the
process's own random state, which dropout, drop path and mixup use.
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

from .config_types import resolve_type


class SeededIndex(int):
    """A sample's index that carries the key of its random stream: seed, epoch, position."""

    key: tuple

    def __new__(cls, index: int, key: tuple) -> SeededIndex:
        """Makes an index with a key."""
        self = super().__new__(cls, index)
        self.key = key
        return self

    def __reduce__(self) -> tuple:
        """Keeps the key when the index is pickled, as it is for workers."""
        return SeededIndex, (int(self), self.key)


@contextmanager
def random_stream(*key: int) -> Iterator[None]:
    """Seeds Python, NumPy and torch (CPU) from a key; restores their states afterwards.

    Args:
        *key: Whole numbers, 0 or more, that identify the stream.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(words.tobytes())
    np.random.seed(words)
    # Not torch.manual_seed, which would also seed the GPUs, whose random numbers the model uses.
    torch.default_generator.manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@DATASETS.register_module()
class SeededDataset:
    """Wraps a data set and draws each sample's augmentations from that sample's random stream.

    Other attributes are those of the wrapped data set. A plain index, not from a ``SeededSampler``, is passed on as is.

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
        """Returns an attribute of the wrapped data set."""
        if name.startswith('__') or name == 'dataset':  # unpickling asks before it exists; dunders would skip seeding
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute, such as a ``pipeline`` that a hook changes, on the wrapped data set, which uses it."""
        if name == 'dataset':
            super().__setattr__(name, value)
        else:
            setattr(self.dataset, name, value)


@DATA_SAMPLERS.register_module()
class SeededSampler:
    """Wraps a sampler and adds the key of a random stream to each index; other attributes are the sampler's.

    The position counts over all processes: the k-th index of process r of n has position k * n + r.

    Args:
        dataset: The data set that is sampled.
        sampler: Config of the sampler to wrap, such as mmengine's ``DefaultSampler`` or ``InfiniteSampler``.
        seed: Seed of the order and of the streams; None for that of the wrapped sampler.
    """

    def __init__(self, dataset: Any, sampler: dict, seed: Optional[int] = None) -> None:
        self.sampler = DATA_SAMPLERS.build(sampler, default_args=dict(dataset=dataset, seed=seed))
        seed = getattr(self.sampler, 'seed', None) if seed is None else seed
        self.stream_seed = sync_random_seed() if seed is None else seed
        self._next_epoch = 0
        self._first = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the number of the next pass; without a call, passes are counted.

        Args:
            epoch: Number of the next pass, from 0.
        """
        self._next_epoch = epoch
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch)

    def start_at(self, count: int) -> None:
        """Makes the next pass skip its first indices, which a resumed run has already seen.

        Args:
            count: How many of this process's indices to leave out.
        """
        self._first = count

    def __iter__(self) -> Iterator[SeededIndex]:
        """Yields the indices of one pass."""
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
        """Returns an attribute of the wrapped sampler."""
        if name.startswith('__') or name == 'sampler':
            raise AttributeError(name)
        value = getattr(self.sampler, name)
        # Newer loops of mmengine call ``skip(count)`` if a sampler has it; ``start_at`` keeps the positions right.
        return self.start_at if name == 'skip' else value


def seeded(loader: Dict[str, Any]) -> Dict[str, Any]:
    """Returns a data loader's config with data set and sampler wrapped, unless they are built or wrapped already.

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
    """Gives data loaders their own generator for the seed that they draw whenever an iterator is made.

    Otherwise they draw it from the model's random state, once or once per epoch, depending on the workers.

    Args:
        loaders: The data loaders; changed in place.
        seed: Seed of the generators.
    """
    for loader in loaders:
        loader.generator = torch.Generator().manual_seed(seed)
