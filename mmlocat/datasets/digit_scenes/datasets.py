"""Provides DigitScenes as data set classes of MMPretrain and MMSegmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS as PRETRAIN_DATASETS
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS as SEG_DATASETS

from .build import DigitScenesSpec, prepare_digit_scenes, read_manifest, verify_split
from .sources import SPLITS

_DIGITS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
# Ten hues that people with colour-vision deficiency can distinguish (after P. Tol's "muted" scheme), on black.
_PALETTE = [[0, 0, 0], [204, 102, 119], [51, 34, 136], [221, 204, 119], [17, 119, 51], [136, 204, 238], [136, 34, 85],
            [68, 170, 153], [153, 153, 51], [170, 68, 153], [221, 221, 221]]


def _ready(data_root: Optional[str], task: str, split: str, seed: int) -> str:
    if split not in SPLITS:
        raise ValueError(f'unknown split {split!r} of DigitScenes; choose one of {", ".join(SPLITS)}')
    if data_root and Path(data_root).exists():
        root = Path(data_root)  # made by the caller with any number of images; its own manifest says how many
        found = read_manifest(root)['spec']['seed']
        if found != seed:
            raise ValueError(f'{root} holds DigitScenes of seed {found}, not {seed}; give another data_root or seed')
    else:
        root = prepare_digit_scenes(data_root, DigitScenesSpec(seed=seed))
    verify_split(root, task, split)
    return str(root / task)


@PRETRAIN_DATASETS.register_module()
class DigitScenesClassification(CustomDataset):
    """One handwritten digit anywhere on a 24 x 24 crop of a photograph; ten classes.

    36,000 training, 2,000 validation and 2,000 test images. Made on first use, cached, and compared with
    its checksum whenever it is opened.

    Args:
        split: 'train', 'val' or 'test'; they share no digit and no photo region. Defaults to 'train'.
        data_root: The data set's folder. Defaults to the user's cache folder (``$MMLOCAT_DATA``).
        seed: Seed of the whole data set. Defaults to 0.
        **kwargs: Other arguments of mmpretrain's ``CustomDataset``, such as ``pipeline``, ``indices``.

    Raises:
        ValueError: ``split`` is unknown, or ``data_root`` holds another seed.
        RuntimeError: The files on disk are damaged; the message says what to delete.
    """

    METAINFO = dict(classes=_DIGITS)
    VOUCHES_FOR_FILES = True  # generated on first use, else compared with a checksum; no other check is needed

    def __init__(self, split: str = 'train', data_root: Optional[str] = None, seed: int = 0, **kwargs) -> None:
        root = _ready(data_root, 'classification', split, seed)
        super().__init__(data_root=root, data_prefix='', ann_file=f'{split}.txt', **kwargs)


@SEG_DATASETS.register_module()
class DigitScenesSegmentation(BaseSegDataset):
    """Scenes of 36 x 36 px with one to three handwritten digits; background and ten classes.

    1,500 training, 500 validation and 500 test scenes. A label covers the stroke, dilated by 2 px. Arguments are those
    of ``DigitScenesClassification``; other arguments are those of mmseg's ``BaseSegDataset``.

    Raises:
        ValueError, RuntimeError: As ``DigitScenesClassification`` does.
    """

    METAINFO = dict(classes=('background', *_DIGITS), palette=_PALETTE)
    VOUCHES_FOR_FILES = True

    def __init__(self, split: str = 'train', data_root: Optional[str] = None, seed: int = 0, **kwargs) -> None:
        root = _ready(data_root, 'segmentation', split, seed)
        prefix = dict(img_path=f'images/{split}', seg_map_path=f'annotations/{split}')
        super().__init__(data_root=root, data_prefix=prefix, img_suffix='.png', seg_map_suffix='.png', **kwargs)
