"""Test loops that fill a memory with the training set before they test: k-NN and dense retrieval."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Iterator, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.registry import LOOPS, TRANSFORMS
from mmengine.runner import Runner, TestLoop, autocast
from mmengine.structures import PixelData
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from . import hummingbird
from .hummingbird import Memory, check_protocol, retrieve
from .knn import check_labels, vote
from .metrics import RetrievalIoU
from .neighbours import nearest
from .transforms import RetrievalTransform

# FAISS would copy the whole memory into a new index for every batch.
_SEARCH = 'torch'


class _MemoryLoop(TestLoop):
    """Runs the model over the images of the memory, then over those of the test.

    Args:
        runner: The Runner.
        dataloader: Test images.
        evaluator: Metrics of the test.
        memory_dataloader: Training images; its sampler must not shuffle or drop images.
        fp16: As in mmengine's ``TestLoop``.
    """

    def __init__(self, runner: Runner, dataloader: Union[DataLoader, dict], evaluator: Union[Evaluator, dict, list],
                 memory_dataloader: Union[DataLoader, dict], fp16: bool = False) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self.memory_loader = runner.build_dataloader(memory_dataloader)

    @abstractmethod
    def build_memory(self) -> None:
        """Fills the memory with all training images, in every process."""

    def memory_batches(self):
        """Yields model inputs and data samples of the memory's images, and logs how far it is."""
        steps = len(self.memory_loader)
        for step, batch in enumerate(self.memory_loader, 1):
            yield self.preprocessed(batch)
            if step % 50 == 0 or step == steps:
                self.runner.logger.info(f'Memory [{step}/{steps}]')

    def preprocessed(self, batch: dict) -> Tuple[Tensor, list]:
        """Returns the inputs and data samples that the model's preprocessor makes of a batch."""
        data = self.model.data_preprocessor(batch, False)
        return data['inputs'], data['data_samples']

    @property
    def model(self) -> nn.Module:
        """The model without the wrapper of a distributed run."""
        return self.runner.model.module if is_model_wrapper(self.runner.model) else self.runner.model

    def gathered(self, parts: List[Tensor]) -> Tensor:
        """Joins what each process has computed for its images, (n, ...), in the order of the data set."""
        own = torch.cat(parts)
        every = own
        if get_world_size() > 1:  # process r has images r, r + world, ...
            every = torch.stack(all_gather(own.contiguous()), 1).flatten(0, 1)
        images = len(self.memory_loader.dataset)
        if len(every) < images:
            raise ValueError(f'the memory got {len(every)} of {images} images; memory_dataloader needs a DefaultSampler'
                             ' with shuffle=False and no drop_last')
        return every[:images]

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Predicts one batch from the memory; the first fills it, when hooks have set the weights that are tested."""
        if idx == 0:
            self.build_memory()
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        inputs, samples = self.preprocessed(data_batch)
        self.predict(inputs, samples)
        self.evaluator.process(data_samples=samples, data_batch=data_batch)
        self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=samples)

    @abstractmethod
    def predict(self, inputs: Tensor, samples: list) -> None:
        """Writes predictions into the data samples."""


def _innermost(dataset: dict) -> Iterator[dict]:
    """Yields the settings of the data sets inside wrappers, such as ConcatDataset and RepeatDataset."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for one in inner:
        yield from _innermost(one)


@LOOPS.register_module()
class KNNLoop(_MemoryLoop):
    """Tests a classifier's features, what its head would read, by DINO's k-NN vote.

    Args:
        runner: The Runner.
        dataloader: Test images, with ``gt_label``.
        evaluator: Such as ``dict(type='KNNAccuracy')``.
        memory_dataloader: Training images without augmentation.
        k: Numbers of neighbours that vote. Defaults to DINO's.
        temperature: Divides cosines. Defaults to 0.07.
        num_classes: Number of classes. Defaults to the number in the data set.
        fp16: As in mmengine's ``TestLoop``.
    """

    def __init__(self, runner: Runner, dataloader: Union[DataLoader, dict], evaluator: Union[Evaluator, dict, list],
                 memory_dataloader: Union[DataLoader, dict], k: Sequence[int] = (10, 20, 100, 200),
                 temperature: float = 0.07, num_classes: Optional[int] = None, fp16: bool = False) -> None:
        super().__init__(runner, dataloader, evaluator, memory_dataloader, fp16)
        if not k or min(k) < 1:
            raise ValueError(f'k must hold positive numbers of neighbours, got {k!r}')
        self.k, self.temperature = tuple(sorted(k)), temperature
        self.num_classes = num_classes or len(self.dataloader.dataset.metainfo['classes'])

    def features(self, inputs: Tensor) -> Tensor:
        """Returns what the head reads, or the last feature of a model without one, L2-normalised, shape (B, C)."""
        with autocast(enabled=self.fp16):
            if getattr(self.model, 'with_head', False):
                features = self.model.extract_feat(inputs, stage='pre_logits')
            else:
                features = self.model.extract_feat(inputs)[-1]
        return normalize(features.float(), dim=1)

    def build_memory(self) -> None:
        """Keeps features and labels of all training images, in every process."""
        features, labels = [], []
        for inputs, samples in self.memory_batches():
            features.append(self.features(inputs))
            labels.append(torch.cat([sample.gt_label for sample in samples]).to(features[-1].device))
        self.memory, self.labels = self.gathered(features), self.gathered(labels)
        check_labels(self.memory, self.labels, self.num_classes)

    def predict(self, inputs: Tensor, samples: list) -> None:
        """Writes ``knn_scores``, scores of classes by number of neighbours, into each data sample."""
        similarity, rows = nearest(self.memory, self.features(inputs), self.k[-1], _SEARCH)
        labels = self.labels[rows]
        for k in self.k:
            scores = vote(similarity[:, :k], labels[:, :k], self.num_classes, self.temperature)
            for sample, score in zip(samples, scores):
                sample.set_field({**sample.get('knn_scores', {}), k: score}, 'knn_scores')


@LOOPS.register_module()
class RetrievalLoop(_MemoryLoop):
    """Tests a backbone's patch features by dense retrieval (Hummingbird).

    Args:
        runner: The Runner; its model's ``extract_feat`` must give one feature map, (B, C, h, w).
        dataloader: Test images with label maps, through ``RetrievalTransform(training=False)``.
        evaluator: Such as ``dict(type='RetrievalIoU')``.
        memory_dataloader: Training images with label maps, through ``RetrievalTransform(training=True)``.
        protocol: 'published' or 'clean'. It goes to transforms, memory and metrics; one that states another is an
            error.
        zero_is_unlabelled: Whether label 0 of the data set means "no class" (ADE20K). 'published' then keeps it as a
            class that is not scored, 'clean' removes it (``reduce_zero_label``).
        size: Bound of the memory's rows. Defaults to all patches.
        patches_per_image: Patches of each training image, instead of ``size``.
        num_neighbours: Neighbours of a query patch. Defaults to 30.
        temperature: Divides cosines before the softmax. Defaults to 0.02.
        seed: Seed of the bounded memory's sampling. Defaults to 0.
        fp16: As in mmengine's ``TestLoop``.

    Raises:
        ValueError: The protocol does not exist, or a transform or metric states another.
    """

    def __init__(self, runner: Runner, dataloader: dict, evaluator: Union[dict, list], memory_dataloader: dict,
                 protocol: str = 'published', zero_is_unlabelled: bool = False, size: Optional[int] = None,
                 patches_per_image: Optional[int] = None, num_neighbours: int = 30, temperature: float = 0.02,
                 seed: int = 0, fp16: bool = False) -> None:
        check_protocol(protocol)
        for name, value in (('num_neighbours', num_neighbours), ('temperature', temperature), ('size', size),
                            ('patches_per_image', patches_per_image)):
            if value is not None and not value > 0:
                raise ValueError(f'{name} of RetrievalLoop must be positive, got {value}')
        self.protocol, self.bound, self.seed = protocol, dict(size=size, patches_per_image=patches_per_image), seed
        self.search = dict(num_neighbours=num_neighbours, temperature=temperature)
        keeps_zero = zero_is_unlabelled and protocol == 'published'
        loaders = [self._with_protocol(loader, zero_is_unlabelled) for loader in (dataloader, memory_dataloader)]
        super().__init__(runner, loaders[0], evaluator, loaders[1], fp16)
        self.num_classes = len(self.dataloader.dataset.metainfo['classes']) + keeps_zero
        for metric in self.evaluator.metrics:
            if isinstance(metric, RetrievalIoU):
                metric.protocol = self._agreed(metric.protocol, 'the metric')
                if metric.num_classes not in (None, self.num_classes):
                    raise ValueError(f'RetrievalIoU(num_classes={metric.num_classes}), but protocol={protocol!r} has '
                                     f'{self.num_classes} classes here; leave num_classes out')
                metric.num_classes = self.num_classes
                metric.ignore_index = 0 if keeps_zero else metric.ignore_index

    def _with_protocol(self, loader: dict, zero_is_unlabelled: bool) -> dict:
        """Returns a copy of a data loader's settings whose transforms and labels follow the protocol."""
        loader = copy.deepcopy(loader)
        for dataset in _innermost(loader['dataset']):
            if zero_is_unlabelled:
                dataset['reduce_zero_label'] = self.protocol == 'clean'
            for transform in dataset.get('pipeline', []):
                if TRANSFORMS.get(transform['type']) is RetrievalTransform:
                    transform['protocol'] = self._agreed(transform.get('protocol'), 'a transform')
        return loader

    def _agreed(self, stated: Optional[str], where: str) -> str:
        if stated not in (None, self.protocol):
            raise ValueError(f'{where} states protocol={stated!r}, the loop {self.protocol!r}; set '
                             'test_cfg.protocol alone, which the others take')
        return self.protocol

    def features(self, inputs: Tensor) -> Tuple[Tensor, Tuple[int, int]]:
        """Returns patch features, (B, h * w, C), and their grid (h, w)."""
        with autocast(enabled=self.fp16):
            maps = self.model.extract_feat(inputs)[-1]
        return maps.flatten(2).transpose(1, 2).float(), tuple(maps.shape[-2:])

    def build_memory(self) -> None:
        """Keeps patches of all training images, in every process."""
        images = len(self.memory_loader.dataset)
        bound = dict(self.bound)
        if bound['size'] and not bound['patches_per_image']:
            bound = dict(size=None, patches_per_image=max(1, bound['size'] // images))
        parts: List[Tuple[Tensor, Tensor, Tensor]] = []
        index = get_rank()
        for inputs, samples in self.memory_batches():
            features, grid = self.features(inputs)
            labels = torch.cat([sample.gt_sem_seg.data for sample in samples]).to(features.device)
            noise = None
            if bound['patches_per_image']:
                noise = torch.stack([self._noise(index + i * get_world_size(), features.shape[1])
                                     for i in range(len(samples))]).to(features.device)
            index += len(samples) * get_world_size()
            parts.append(hummingbird.image_rows(
                features, labels, num_classes=self.num_classes, patch_size=inputs.shape[-2] // grid[0], noise=noise,
                protocol=self.protocol, **bound))
        features, shares, kept = (self.gathered(list(part)) for part in zip(*parts))
        self.memory = Memory(features[kept], shares[kept], self.protocol)

    def _noise(self, image: int, patches: int) -> Tensor:
        """Returns the random numbers of an image, which depend on its index and the seed alone."""
        return torch.rand(patches, generator=torch.Generator().manual_seed(hash((self.seed, image))))

    def predict(self, inputs: Tensor, samples: list) -> None:
        """Writes the retrieved label map, ``pred_sem_seg``, into each data sample."""
        features, grid = self.features(inputs)
        maps = retrieve(self.memory, features, grid=grid, image_size=tuple(inputs.shape[-2:]),
                        backend=_SEARCH, **self.search)
        for sample, label_map in zip(samples, maps):
            sample.pred_sem_seg = PixelData(data=label_map[None])
