"""What the name of a config leaf says, and which row of the paper's table it stands for.

A leaf is `<arch>_<head>_<dataset>.py`, or `<arch>_<dataset>.py` for the training of a classifier. An arch is `vit`,
`swin` or `jumbo`, or one of them with `locat` before it, then perhaps a size, then perhaps a variant:
`locatvit-tiny-reg4`. No size is Base.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Tuple

PAPER = Path(__file__).with_name('paper_results.csv')
HEADS = {
    '': 'classifier',
    'linear': 'frozen backbone, one-layer head',
    'upernet': 'UperNet, fine-tuned',
    'dpt': 'DPT, fine-tuned',
    'segmenter': 'Segmenter, fine-tuned',
    'setr': 'SETR-PUP, fine-tuned',
    'segformer': "SegFormer's head, fine-tuned",
    'fpn': 'semantic FPN, fine-tuned',
    'fcn': 'FCN, fine-tuned',
    'depth': 'depth, fine-tuned',
    'eomt': 'EoMT, fine-tuned',
    'knn': 'k-NN',
    'hummingbird': 'dense retrieval, published protocol',
    'dino': 'DINO pretraining',
    'dino-knn': 'k-NN of DINO pretraining',
    'dino-linear': 'linear probe of DINO pretraining'
}
DATASETS = {
    'imagenet': 'ImageNet-1K',
    'mini-imagenet': 'Mini-ImageNet',
    'ade20k': 'ADE20K',
    'pascal_context59': 'PASCAL Context 59',
    'coco_stuff164k': 'COCO-Stuff 164K',
    'voc2012': 'Pascal VOC 2012',
    'nyu': 'NYU Depth V2',
    'digitscenes': 'DigitScenes',
    'stampscenes': 'StampScenes'
}
LAPTOP = ('digitscenes', 'stampscenes')  # data sets whose nano models are pretrained on them, in minutes or hours
SIZES = ('tiny', 'small', 'base', 'nano')
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
    ('locatvit', 'reg4'): 'LocAtRegViT',
    ('vit', 'tuned'): 'ViT, trained on',  # retrofits, which the paper does not have
    ('locatvit', 'identity'): 'ViT, trained on as LocAtViT',
    ('locatvit', 'paper'): "ViT, trained on as LocAtViT, paper's start",
    ('vit', 'rope'): 'ViT + RoPE',
    ('locatvit', 'rope'): 'LocAtViT + RoPE',
    ('jumbo', ''): 'Jumbo',
    ('locatjumbo', ''): 'LocAtJumbo',
    ('swin', ''): 'Swin',
    ('locatswin', ''): 'LocAtSwin'
}
# The columns of the paper's table, by head and dataset; its segmentation protocol is the frozen backbone.
_COLUMNS = {
    ('', 'imagenet'): 'imagenet1k_top1',
    ('linear', 'ade20k'): 'ade20k_miou',
    ('linear', 'pascal_context59'): 'pascal_context59_miou',
    ('linear', 'coco_stuff164k'): 'coco_stuff164k_miou',
    ('', 'mini-imagenet'): 'mini_imagenet_top1',
    ('hummingbird', 'ade20k'): 'hummingbird_ade20k_miou',
    ('hummingbird', 'voc2012'): 'hummingbird_voc2012_miou',
    ('dino-knn', 'imagenet'): 'dino_knn_imagenet_top1',
    ('dino-linear', 'imagenet'): 'dino_linear_imagenet_top1'
}
# What a reader must know of a model's numbers.
REMARKS = {
    'ViT + GAP': 'ViT + GAP: which model the paper means is not known; here the class token stays among the tokens, '
                 'and the head reads the mean over patches.'
}


class Entry(NamedTuple):
    """What a line of a table is about; the paper's names where it has one."""

    model: str
    size: str
    head: str
    dataset: str


@dataclass(frozen=True)
class Leaf:
    """A config leaf's name, taken apart.

    Args:
        name: Without its suffix.
        arch: Family, size and variant as the name has them.
        model: In tables, the paper's name where it has one.
        size: One of ``SIZES``.
        head: One of ``HEADS``: '' for a classifier, 'linear' and so on.
        dataset: The last part.
    """

    name: str
    arch: str
    model: str
    size: str
    head: str
    dataset: str

    @property
    def entry(self) -> Entry:
        """The line of a table that the leaf stands for."""
        return Entry(self.model, self.size, self.head, self.dataset)

    @property
    def pretraining(self) -> Optional[str]:
        """The leaf whose result another one starts from, by its name; None for one that starts from nothing."""
        if self.head in ('', 'dino'):
            return None
        first = 'dino_' if self.head.startswith('dino-') else ''
        own = self.dataset in LAPTOP and self.size == 'nano'
        return f'{self.arch}_{first}{self.dataset if own else "imagenet"}'

    @property
    def segments(self) -> bool:
        """Whether it is a config of MMSegmentation: its result is a mIoU, or an error of depth."""
        return self.head not in ('', 'knn') and not self.head.startswith('dino')


def metric(head: str) -> Tuple[str, str]:
    """Returns the key in a test's results of what a head is measured by, and its name with unit.

    DINO pretraining has no test of its own: k-NN and the linear probe measure it.
    """
    top1 = ('accuracy/top1', 'top-1 %')
    votes = ('knn/top1_k20', 'k-NN top-1 %')
    others = {'': top1, 'dino-linear': top1, 'knn': votes, 'dino-knn': votes, 'depth': ('rmse', 'RMSE in m')}
    return others.get(head, ('mIoU', 'mIoU %'))


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
    size = more.pop(0) if more and more[0] in SIZES else 'base'
    variant = '-'.join(more)
    plain = _TITLES.get((family, ''), family)
    model = _TITLES.get((family, variant), f'{plain} ({variant})' if variant else plain)
    return Leaf(stem, arch, model, size, head, dataset)


@lru_cache(maxsize=None)
def published() -> Dict[Entry, Optional[float]]:
    """Returns the numbers of the paper's tables in percent, in their order.

    None stands for a blank: the paper prints no number there, or we do not know it. What a row is not asked for, '-' in
    the file, is left out. The paper's segmentation protocol is the linear head.
    """
    with open(PAPER, encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    return {Entry(row['model'], row['size'], head, dataset): float(row[column]) if row[column] else None
            for row in rows for (head, dataset), column in _COLUMNS.items() if row[column] != '-'}


def order(entry: Entry) -> Tuple:
    """Returns a sorting key: datasets, heads and sizes, then the paper's order of models."""
    datasets, models = [*DATASETS, entry.dataset], [*(one.model for one in published()), entry.model]
    return (datasets.index(entry.dataset), entry.dataset, list(HEADS).index(entry.head), SIZES.index(entry.size),
            models.index(entry.model))
