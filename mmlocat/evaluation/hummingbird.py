"""Segments images by the labels of the most similar training patches: Hummingbird's dense retrieval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple, Union

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from .bank import Bank
from .neighbours import nearest

IGNORED = 255
PROTOCOLS = ('published', 'clean')
ENLARGED = 2**24  # numbers of a block of enlarged shares, 64 MiB


@dataclass
class Memory:
    """Patches of the training images with the classes that they show.

    Attributes:
        features: L2-normalised, shape (M, C).
        labels: Share of each class in each patch, shape (M, ``num_classes``).
        protocol: 'published' or 'clean': how it was built.
    """
    features: Tensor
    labels: Tensor
    protocol: str


def check_protocol(protocol: str) -> None:
    """Raises a ValueError for a protocol that does not exist."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be 'published' (the habits of the published code) or 'clean', got "
                         f'{protocol!r}')


def build_memory(features: Tensor,
                 labels: Tensor,
                 *,
                 num_classes: int,
                 patch_size: int,
                 size: Optional[int] = None,
                 patches_per_image: Optional[int] = None,
                 noise: Optional[Tensor] = None,
                 protocol: str = 'published') -> Memory:
    """Builds the memory of patches in which query patches look for their neighbours.

    A bounded memory takes the same number of patches from every image. With freq[c] the number of patches of an image
    that show class c, a patch scores the sum of freq over its classes, times a uniform random number; the patches with
    the lowest scores are kept, lowest first, images in order (the published sampling, which prefers rare classes).

    Args:
        features: Raw features of patches, row by row, shape (images, patches, C).
        labels: Label maps, shape (images, H, W), with 255 where there is no label; H * W / patch_size^2 = patches.
        num_classes: Number of classes.
        patch_size: Side of a patch in pixels.
        size: Bound of the number of rows: every image gives max(1, size // images) patches. Defaults to all patches.
        patches_per_image: Patches of every image, instead of ``size``.
        noise: The random numbers of the sampling, in [0, 1), shape (images, patches). Defaults to PyTorch's generator.
        protocol: 'published' counts unlabelled pixels (255) as class 0, as the published code does. 'clean' takes
            shares over labelled pixels alone and drops patches without any.

    Returns:
        The memory; its rows follow images, and within an image patches or, where sampled, scores. It is on the device
        of ``features`` and takes 4 * (C + ``num_classes``) bytes a row, once: all 20,210 images of ADE20K at 224 px in
        patches of 16 are 3,961,160 rows, with 768 channels and 151 classes 13.6 GiB. 'clean' without a bound reserves
        that for patches that it drops, too. Beside it and the arguments there is a block of 64 images.

    Raises:
        ValueError: Shapes do not fit each other, a label is not a class, or the protocol does not exist.
        RuntimeError: The device has no room for the memory.
    """
    check_protocol(protocol)
    _check_shapes(features, labels, patch_size)
    images, patches, _ = features.shape
    count = patches_kept(images, size, patches_per_image)
    if count is not None and noise is None:
        noise = torch.rand(images, patches, device=features.device)
    elif noise is not None and noise.shape != (images, patches):
        raise ValueError(f'noise must have one number for each image and patch, shape {(images, patches)}, got '
                         f'{tuple(noise.shape)}')
    bank = None
    for start in range(0, images, 64):
        part = slice(start, start + 64)
        rows, shares, kept = image_rows(features[part], labels[part], num_classes, patch_size, protocol, count,
                                        None if noise is None else noise[part])
        if bank is None:
            bank = Bank(images * rows.shape[1], [rows[0], shares[0]])
        bank.append(rows[kept], shares[kept])
    return Memory(*bank.columns(), protocol)


def patches_kept(images: int, size: Optional[int] = None, patches_per_image: Optional[int] = None) -> Optional[int]:
    """Returns how many patches of every image a memory keeps, None for all; see :func:`build_memory`.

    Raises:
        ValueError: A bound is not positive.
    """
    for name, value in (('size', size), ('patches_per_image', patches_per_image)):
        if value is not None and value < 1:
            raise ValueError(f'{name} must be positive, got {value}')
    return patches_per_image or (None if size is None else max(1, size // images))


def image_rows(features: Tensor, labels: Tensor, num_classes: int, patch_size: int, protocol: str,
               count: Optional[int], noise: Optional[Tensor]) -> Tuple[Tensor, Tensor, Tensor]:
    """Computes the rows of a memory that some images give, so that blocks and processes share the work.

    Args:
        features: As in :func:`build_memory`, like all others but ``count``.
        labels: Label maps.
        num_classes: Number of classes.
        patch_size: Side of a patch in pixels.
        protocol: 'published' or 'clean'.
        count: Patches of every image, chosen by ``noise``; None takes all. See :func:`patches_kept`.
        noise: The random numbers of the sampling; not used without ``count``.

    Returns:
        L2-normalised features (images, n, C), shares of classes (images, n, classes), and which of the rows the memory
        keeps (images, n).

    Raises:
        ValueError: Shapes do not fit each other, or a label is not a class.
    """
    _check_shapes(features, labels, patch_size)
    check_classes(labels, num_classes)
    counts = _class_counts(labels, num_classes, patch_size, protocol)
    kept = counts.sum(2) > 0
    shares = counts / counts.sum(2, keepdim=True).clamp(min=1)
    if count is not None:
        order = _sampled(counts, kept, noise)[:, :count]
        features, shares = (rows.gather(1, order[..., None].expand(-1, -1, rows.shape[2]))
                            for rows in (features, shares))
        kept = kept.gather(1, order)
    return normalize(features.float(), dim=2), shares, kept


def retrieve(memory: Memory,
             features: Tensor,
             *,
             grid: Tuple[int, int],
             image_size: Union[int, Tuple[int, int]],
             num_neighbours: int = 30,
             temperature: float = 0.02,
             backend: str = 'auto') -> Tensor:
    """Predicts a label map for each image from the patches of a memory.

    The distributions of :func:`label_distributions` are enlarged bilinearly to the size of the image; each pixel takes
    the class with the largest share.

    Args:
        memory: What :func:`build_memory` returns.
        features: Raw features of patches, row by row, shape (images, H * W, C).
        grid: Patches in a column and in a row, (H, W).
        image_size: Height and width of the label maps in pixels, or one number for both.
        num_neighbours: Neighbours of a query patch.
        temperature: Divides cosines before the softmax.
        backend: Back-end of the search, see :func:`nearest`.

    Returns:
        Label maps, shape (images, height, width), int64.

    Raises:
        ValueError: ``features`` do not fit the grid or the memory.
    """
    height, width = grid
    if features.ndim != 3 or features.shape[1] != height * width:
        raise ValueError(f'features must have shape (images, {height * width}, C) for grid {(height, width)}, got '
                         f'{tuple(features.shape)}')
    mixed = label_distributions(memory, features, num_neighbours, temperature, backend)
    maps = mixed.transpose(1, 2).reshape(len(features), -1, height, width)
    # Enlarged, the shares of all classes take 29 MiB for one image of 224 px and 151 classes.
    pixels = image_size**2 if isinstance(image_size, int) else image_size[0] * image_size[1]
    block = max(1, ENLARGED // (maps.shape[1] * pixels))
    return torch.cat([interpolate(part, image_size, mode='bilinear', align_corners=False).argmax(1)
                      for part in maps.split(block)])


def label_distributions(memory: Memory,
                        features: Tensor,
                        num_neighbours: int = 30,
                        temperature: float = 0.02,
                        backend: str = 'auto') -> Tensor:
    """Mixes the labels of each query patch's neighbours, weighted by softmax(cosine / temperature).

    Args:
        memory: What :func:`build_memory` returns.
        features: Raw features of patches, shape (images, patches, C).
        num_neighbours: Neighbours of a query patch.
        temperature: Divides cosines before the softmax.
        backend: Back-end of the search, see :func:`nearest`.

    Returns:
        Shares of classes, shape (images, patches, classes).

    Raises:
        ValueError: ``temperature`` is not positive, or channels differ from the memory's.
    """
    if not temperature > 0:
        raise ValueError(f'temperature must be positive, got {temperature}')
    queries = normalize(features.float(), dim=2).flatten(0, 1)
    similarity, rows = nearest(memory.features, queries, num_neighbours, backend)
    weights = (similarity / temperature).softmax(1)
    # A block of images at a time: neighbours x classes for every query would outgrow the search's own memory.
    mixed = [torch.einsum('nk,nkc->nc', weight, memory.labels[row])
             for weight, row in zip(weights.split(4096), rows.split(4096))]
    return torch.cat(mixed).unflatten(0, features.shape[:2])


def _check_shapes(features: Tensor, labels: Tensor, patch_size: int) -> None:
    """Raises a ValueError unless label maps are divided into as many patches as there are features."""
    if features.ndim != 3 or not len(features):
        raise ValueError(f'features must have shape (images, patches, C) with one image at least, got '
                         f'{tuple(features.shape)}')
    images, patches, _ = features.shape
    height, width = labels.shape[-2:]
    if labels.ndim != 3 or len(labels) != images or height % patch_size or width % patch_size \
            or (height // patch_size) * (width // patch_size) != patches:
        raise ValueError(f'labels of shape {tuple(labels.shape)} do not divide into {patches} patches of {patch_size} '
                         f'px for each of {images} images')


def check_classes(labels: Tensor, num_classes: int, source: Optional[str] = None) -> None:
    """Raises a ValueError, which begins with the labels' ``source``, unless each label is a class or 255."""
    outside = labels[(labels < 0) | ((labels >= num_classes) & (labels != IGNORED))]
    if len(outside):
        where = f'{source}: ' if source else ''
        raise ValueError(f'{where}labels must lie between 0 and {num_classes - 1} (num_classes={num_classes}) or be '
                         f'{IGNORED}, got {int(outside[0])}')


def _class_counts(labels: Tensor, num_classes: int, patch_size: int, protocol: str) -> Tensor:
    """Returns the number of pixels of each class in each patch, shape (images, patches, classes)."""
    images, height, width = labels.shape
    blocks = labels.reshape(images, height // patch_size, patch_size, width // patch_size, patch_size)
    pixels = blocks.permute(0, 1, 3, 2, 4).reshape(images, -1, patch_size**2).long()
    weights = torch.ones_like(pixels, dtype=torch.float32)
    if protocol == 'clean':
        weights = (pixels != IGNORED).float()
    pixels = pixels.masked_fill(pixels == IGNORED, 0)
    counts = torch.zeros(*pixels.shape[:2], num_classes, device=labels.device)
    return counts.scatter_add_(2, pixels, weights)


def _sampled(counts: Tensor, kept: Tensor, noise: Tensor) -> Tensor:
    """Returns the patches of each image in the order in which a bounded memory takes them, (images, patches)."""
    shown = (counts > 0).float()
    frequency = shown.sum(1, keepdim=True)
    scores = (shown * frequency).sum(2) * noise
    return scores.masked_fill(~kept, float('inf')).sort(dim=1, stable=True).indices
