"""Classifies images by the labels of their nearest training images, as DINO does."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .neighbours import nearest


def knn_scores(train_features: Tensor,
               train_labels: Tensor,
               test_features: Tensor,
               *,
               k: int,
               temperature: float = 0.07,
               num_classes: int,
               backend: str = 'auto') -> Tensor:
    """Scores every class for every test image by a weighted vote of its nearest training images.

    Features are L2-normalised here. A class scores the sum of exp(cosine / temperature) over those of the ``k`` nearest
    training images that belong to it. With fewer than ``k`` training images, all of them vote. (DINO's k-NN evaluation;
    paper, evaluations without a trained head.)

    Args:
        train_features: Raw features of the training images, shape (M, C).
        train_labels: Their classes, shape (M, ), from 0 to ``num_classes - 1``.
        test_features: Raw features of the test images, shape (N, C).
        k: Neighbours that vote; DINO reports 10, 20, 100 and 200.
        temperature: Divides cosines. Defaults to 0.07.
        num_classes: Number of classes.
        backend: Back-end of the search, see :func:`nearest`.

    Returns:
        Scores in float32, shape (N, ``num_classes``).

    Raises:
        ValueError: Shapes do not fit, a label is not a class, or ``k`` or ``temperature`` is not positive.
    """
    if k < 1:
        raise ValueError(f'k must be positive, got {k}')
    check_labels(train_features, train_labels, num_classes)
    similarity, rows = nearest(normalize(train_features.float(), dim=1), normalize(test_features.float(), dim=1), k,
                               backend)
    return vote(similarity, train_labels[rows], num_classes, temperature)


def check_labels(features: Tensor, labels: Tensor, num_classes: int) -> None:
    """Raises a ValueError unless there is one label for each feature, and each is a class."""
    if labels.shape != features.shape[:1]:
        raise ValueError(f'train_labels must have one entry for each of the {len(features)} training features, got '
                         f'shape {tuple(labels.shape)}')
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if len(outside):
        raise ValueError(f'train_labels must lie between 0 and {num_classes - 1} (num_classes={num_classes}), got '
                         f'{int(outside[0])}')


def vote(similarity: Tensor, labels: Tensor, num_classes: int, temperature: float) -> Tensor:
    """Sums exp(cosine / temperature) of neighbours by class.

    Args:
        similarity: Cosines, shape (N, k).
        labels: Classes of the neighbours, shape (N, k).
        num_classes: Number of classes.
        temperature: Divides cosines.

    Returns:
        Scores, shape (N, ``num_classes``).

    Raises:
        ValueError: ``temperature`` is not positive.
    """
    if not temperature > 0:
        raise ValueError(f'temperature must be positive, got {temperature}')
    scores = torch.zeros(len(similarity), num_classes, device=similarity.device)
    return scores.scatter_add_(1, labels, (similarity / temperature).exp())
