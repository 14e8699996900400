"""What the name of a config leaf says, and which row of the paper's table it stands for.

A leaf is `<arch>_<head>_<dataset>.py`, or `<arch>_<dataset>.py` for the training of a classifier. An arch is
`vit` or `locatvit`, then perhaps a size, then perhaps a variant: `locatvit-tiny-reg4`. No size is Base.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import List, Optional, Tuple, Union

PAPER = Path(__file__).with_name('paper_results.csv')
HEADS = {'': 'classifier', 'linear': 'frozen backbone, one-layer head', 'upernet': 'UperNet, fine-tuned'}
DATASETS = {
    'imagenet': 'ImageNet-1K',
    'mini-imagenet': 'Mini-ImageNet',
    'ade20k': 'ADE20K',
    'pascal_context59': 'PASCAL Context 59',
    'coco_stuff164k': 'COCO-Stuff 164K',
    'digitscenes': 'DigitScenes'
}
SIZES = ('tiny', 'small', 'base', 'nano')
_BASE = 'base'
# The paper's names of an architecture and a variant.
_TITLES = {
    ('vit', ''): 'ViT',
    ('vit', 'nopos'): 'ViT - position embedding',
    ('vit', 'reg4'): 'RegViT',
    ('vit', 'gap'): 'ViT + GAP',
    ('locatvit', ''): 'LocAtViT',
    ('locatvit', 'gaug'): 'ViT + GAug',
    ('locatvit', 'prr'): 'ViT + PRR',
    ('locatvit', 'nopos'): 'LocAtViT - position embedding',
    ('locatvit', 'reg4'): 'LocAtRegViT'
}
# The columns of the paper's table, by head and dataset; its segmentation protocol is the frozen backbone.
_COLUMNS = {
    ('', 'imagenet'): 'imagenet1k_top1',
    ('linear', 'ade20k'): 'ade20k_miou',
    ('linear', 'pascal_context59'): 'pascal_context59_miou',
    ('linear', 'coco_stuff164k'): 'coco_stuff164k_miou'
}
NOT_SUPPORTED = ('Swin', 'LocAtSwin')


@dataclass(frozen=True)
class Leaf:
    """A config leaf's name, taken apart.

    Args:
        name: Without its suffix.
        family: 'vit', 'locatvit', or what else the name begins with.
        size: One of ``SIZES``.
        variant: What follows the size; '' for the model itself.
        head: 'linear', 'upernet', or '' for a classifier.
        dataset: The last part.
    """

    name: str
    family: str
    size: str
    variant: str
    head: str
    dataset: str

    @property
    def arch(self) -> str:
        """Family, size and variant as the name has them."""
        return self.name.split('_')[0]

    @property
    def model(self) -> str:
        """The model's name in tables, the paper's where it has one."""
        title = _TITLES.get((self.family, self.variant))
        if title is None:
            title = _TITLES.get((self.family, ''), self.family) + (f' ({self.variant})' if self.variant else '')
        return title

    @property
    def pretraining(self) -> Optional[str]:
        """The leaf whose result a segmentation leaf starts from, by its name; None for a classifier."""
        if not self.head:
            return None
        return f'{self.arch}_{"digitscenes" if self.dataset == "digitscenes" else "imagenet"}'


def metric(head: str) -> Tuple[str, str]:
    """Returns the key in a test's results of what a head is measured by, and its name with unit."""
    return ('mIoU', 'mIoU %') if head else ('accuracy/top1', 'top-1 %')


def parse(name: str) -> Leaf:
    """Takes a leaf's name apart.

    Args:
        name: A file name or path, with or without '.py'.

    Returns:
        Its parts; a name of another form gives a leaf whose dataset is what follows the first '_'.
    """
    stem = Path(name).name
    stem = stem[:-3] if stem.endswith('.py') else stem
    arch, _, rest = stem.partition('_')
    head, _, dataset = rest.partition('_')
    if head not in HEADS or not dataset:
        head, dataset = '', rest
    family, *more = arch.split('-')
    size = more.pop(0) if more and more[0] in SIZES else _BASE
    return Leaf(stem, family, size, '-'.join(more), head, dataset)


@dataclass(frozen=True)
class Published:
    """A number of the paper's table.

    Args:
        model: The paper's name.
        size: 'tiny' or 'base'.
        head: As in ``Leaf``.
        dataset: As in ``Leaf``.
        value: In percent; None where the paper has none.
        parameters_m: In millions, as printed.
    """

    model: str
    size: str
    head: str
    dataset: str
    value: Optional[float]
    parameters_m: float

    @property
    def supported(self) -> bool:
        """Whether this package has the model."""
        return self.model not in NOT_SUPPORTED


@lru_cache(maxsize=None)
def published() -> Tuple[Published, ...]:
    """Returns the paper's table, one entry for each row and dataset, in its order; blanks are None."""
    with open(PAPER, encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    return tuple(
        Published(row['model'], row['size'], head, dataset, float(row[column]) if row[column] else None,
                  float(row['params_m'])) for row in rows for (head, dataset), column in _COLUMNS.items())


def published_for(leaf: Leaf) -> Optional[Published]:
    """Returns the number of the paper that a leaf stands for; None where its table has no such entry.

    The rule: the same model by the paper's name, the same size, and the dataset under the paper's protocol, which is
    the linear head in segmentation.
    """
    if (leaf.family, leaf.variant) not in _TITLES:
        return None
    key = (leaf.model, leaf.size, leaf.head, leaf.dataset)
    return next((entry for entry in published() if (entry.model, entry.size, entry.head, entry.dataset) == key), None)


def order(entry: Union[Leaf, Published]) -> Tuple:
    """Returns a sorting key: datasets, heads and sizes, then the paper's order of models."""
    models: List[str] = list(dict.fromkeys(one.model for one in published()))
    known = list(DATASETS)
    return (known.index(entry.dataset) if entry.dataset in known else len(known), entry.dataset,
            list(HEADS).index(entry.head), SIZES.index(entry.size),
            models.index(entry.model) if entry.model in models else len(models))
