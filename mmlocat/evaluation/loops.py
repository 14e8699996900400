"""Test loops that fill a memory with the training set before they test: k-NN and dense retrieval."""

from __future__ import annotations

import copy
from typing import Any, Iterator, Optional, Sequence, Tuple, Union

import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import LOOPS
from mmengine.runner import Runner, autocast
from mmengine.structures import PixelData
from mmseg.engine import SegVisualizationHook
from torch import Tensor
from torch.nn.functional import interpolate, normalize
from torch.utils.data import DataLoader

from mmlocat.config import inner_datasets
from mmlocat.datasets.guard import base_datasets

from .hummingbird import Memory, check_protocol, image_rows, patches_kept, retrieve
from .knn import check_labels, vote
from .memory_loop import MemoryLoop, class_names
from .metrics import RetrievalIoU
from .neighbours import nearest
from .transforms import RetrievalTransform

# FAISS would copy the whole memory into a new index for every batch.
_SEARCH = 'torch'


@LOOPS.register_module()
class KNNLoop(MemoryLoop):
    """Tests a classifier's features, what its head would read, by DINO's k-NN vote.

    The head of a ViT reads its class token after norm and PRR, that of a Swin the mean after both. k-NN of Jumbo is on
    the joined class tokens before PRR: leave the neck out, as ``configs/locatjumbo_knn_imagenet.py`` does. The memory
    takes 4 bytes a channel and 8 a label for each training image: 3.7 GiB for ImageNet with 768 channels.

    Args:
        runner: The Runner.
        dataloader: Test images, with ``gt_label``.
        evaluator: Such as ``dict(type='KNNAccuracy')``.
        memory_dataloader: Training images without augmentation.
        k: Numbers of neighbours that vote, or one number. Defaults to DINO's.
        temperature: Divides cosines. Defaults to 0.07.
        num_classes: Number of classes. Defaults to the number in the data set.
        fp16: As in mmengine's ``TestLoop``.

    Raises:
        ValueError: ``k`` or ``temperature`` is not positive, or ``memory_dataloader`` shuffles or drops images.
    """

    def __init__(self, runner: Runner, dataloader: Union[DataLoader, dict], evaluator: Union[Evaluator, dict, list],
                 memory_dataloader: Union[DataLoader, dict], k: Union[int, Sequence[int]] = (10, 20, 100, 200),
                 temperature: float = 0.07, num_classes: Optional[int] = None, fp16: bool = False) -> None:
        k = (k, ) if isinstance(k, int) else k
        if not k or not all(isinstance(count, int) and count > 0 for count in k):
            raise ValueError(f'k of KNNLoop must be positive whole numbers of neighbours, got {k!r}')
        _check_positive('KNNLoop', temperature=temperature)
        super().__init__(runner, dataloader, evaluator, memory_dataloader, fp16)
        self.k, self.temperature = tuple(sorted(k)), temperature
        self.num_classes = num_classes or len(class_names(self.dataloader.dataset))

    def features(self, inputs: Tensor) -> Tensor:
        """Returns what the head reads, or the last feature of a model without one, L2-normalised, shape (B, C)."""
        with autocast(enabled=self.fp16):
            if getattr(self.model, 'with_head', False):
                features = self.model.extract_feat(inputs, stage='pre_logits')
            else:
                features = self.model.extract_feat(inputs)[-1]
        return normalize(features.float(), dim=1)

    def rows(self, inputs: Tensor, samples: list, numbers: range) -> Tuple[Tensor, ...]:
        """Returns features and labels of images."""
        features = self.features(inputs)
        return features, torch.cat([sample.gt_label for sample in samples]).to(features.device)

    def build_memory(self) -> None:
        """Keeps features and labels of all training images, in every process."""
        bank = None
        for rows in self.all_rows():
            if bank is None:
                bank = self.bank(len(self.memory_loader.dataset), rows)
            bank.append(*rows)
        self.memory, self.labels = bank.columns()
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
class RetrievalLoop(MemoryLoop):
    """Tests a backbone's patch features by dense retrieval (Hummingbird).

    The memory takes 4 * (channels + classes) bytes a patch, once in every process; :func:`build_memory` says what that
    is for ADE20K, and the log says it before it is filled. ``size`` or ``patches_per_image`` bound it.

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
        ValueError: The protocol does not exist, or a transform or metric states another; a number is not positive;
            ``memory_dataloader`` shuffles or drops images.
    """

    def __init__(self, runner: Runner, dataloader: dict, evaluator: Union[dict, list], memory_dataloader: dict,
                 protocol: str = 'published', zero_is_unlabelled: bool = False, size: Optional[int] = None,
                 patches_per_image: Optional[int] = None, num_neighbours: int = 30, temperature: float = 0.02,
                 seed: int = 0, fp16: bool = False) -> None:
        check_protocol(protocol)
        _check_positive('RetrievalLoop', num_neighbours=num_neighbours, temperature=temperature, size=size,
                        patches_per_image=patches_per_image)
        self.protocol, self.bound, self.seed = protocol, dict(size=size, patches_per_image=patches_per_image), seed
        self.search = dict(num_neighbours=num_neighbours, temperature=temperature)
        keeps_zero = zero_is_unlabelled and protocol == 'published'
        if zero_is_unlabelled:
            dataloader, memory_dataloader = (_with_zero(loader, removed=protocol == 'clean')
                                             for loader in (dataloader, memory_dataloader))
        super().__init__(runner, dataloader, evaluator, memory_dataloader, fp16)
        for loader in (self.dataloader, self.memory_loader):
            self._set_transforms(loader.dataset)
        self.num_classes = len(class_names(self.dataloader.dataset)) + keeps_zero
        if keeps_zero:
            runner.visualizer.dataset_meta = _with_unlabelled(self.dataloader.dataset.metainfo)
        for metric in self.evaluator.metrics:
            if isinstance(metric, RetrievalIoU):
                metric.protocol = self._agreed(metric.protocol, 'the metric')
                if metric.num_classes not in (None, self.num_classes):
                    raise ValueError(f'RetrievalIoU(num_classes={metric.num_classes}), but protocol={protocol!r} has '
                                     f'{self.num_classes} classes here; leave num_classes out')
                metric.num_classes = self.num_classes
                metric.ignore_index = 0 if keeps_zero else metric.ignore_index

    def _set_transforms(self, dataset: Any) -> None:
        """Tells the transforms of a data set the protocol, and where in the whole each of its parts begins."""
        first = 0
        for part in base_datasets(dataset):
            for transform in _transforms(part.pipeline):
                if isinstance(transform, RetrievalTransform):
                    transform.protocol = self._agreed(transform.protocol, 'a transform')
                    transform.first_image = first
            first += len(part)

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

    def rows(self, inputs: Tensor, samples: list, numbers: range) -> Tuple[Tensor, ...]:
        """Returns features and classes of the patches of images, and which of them the memory keeps."""
        features, grid = self.features(inputs)
        labels = torch.cat([sample.gt_sem_seg.data for sample in samples]).to(features.device)
        count = patches_kept(len(self.memory_loader.dataset), **self.bound)
        noise = None
        if count is not None:
            noise = torch.stack([self._noise(number, features.shape[1]) for number in numbers]).to(features.device)
        return image_rows(features, labels, self.num_classes, inputs.shape[-2] // grid[0], self.protocol, count, noise)

    def build_memory(self) -> None:
        """Keeps patches of all training images, in every process."""
        bank = None
        for features, shares, kept in self.all_rows():
            if bank is None:
                bank = self.bank(len(self.memory_loader.dataset) * features.shape[1], (features[0], shares[0]))
            bank.append(features[kept], shares[kept])
        self.memory = Memory(*bank.columns(), self.protocol)

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

    def shown(self, samples: list) -> list:
        """Returns the data samples with label maps of the files' sizes if a hook draws them upon the files."""
        if not any(isinstance(hook, SegVisualizationHook) and hook.draw for hook in self.runner.hooks):
            return samples
        return [_of_file_size(sample) for sample in samples]


def _check_positive(loop: str, **values: Optional[float]) -> None:
    """Raises a ValueError for an argument of a loop that is given and not positive."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f'{name} of {loop} must be positive, got {value}')


def _with_zero(loader: dict, removed: bool) -> dict:
    """Returns a copy of a data loader's settings whose data sets remove label 0, or keep it."""
    loader = copy.deepcopy(loader)
    for dataset in inner_datasets(loader['dataset']):
        dataset['reduce_zero_label'] = removed
    return loader


def _transforms(step: Any) -> Iterator[Any]:
    """Yields a transform and those inside it, such as those of a pipeline or of RandomApply."""
    yield step
    inner = getattr(step, 'transforms', ())
    for one in inner if isinstance(inner, (list, tuple)) else [inner]:
        yield from _transforms(one)


def _with_unlabelled(meta: dict) -> dict:
    """Returns names and colours of classes with one more before them, for label 0, as pictures need them."""
    return dict(meta, classes=('no class', *meta['classes']), palette=[[0, 0, 0], *(meta.get('palette') or [])])


def _of_file_size(sample: Any) -> Any:
    """Returns a copy of a data sample whose label maps, squashed for the test, are brought back to the image's size."""
    shown = sample.new()
    for name in ('pred_sem_seg', 'gt_sem_seg'):
        labels = sample.get(name).data[None].float()
        resized = interpolate(labels, tuple(sample.ori_shape), mode='nearest')[0].to(torch.int16)  # a batch of photos
        setattr(shown, name, PixelData(data=resized))
    return shown
