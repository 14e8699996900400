"""Provides scenes as data set classes of MMPretrain and MMSegmentation; a subclass names its specification."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Type

from mmpretrain.datasets import CustomDataset
from mmseg.datasets import BaseSegDataset

from .build import prepare_scenes, read_manifest, verify_split
from .spec import SPLITS, ScenesSpec

# Black, then ten hues that people with colour-vision deficiency can distinguish (after P. Tol's "muted" scheme).
PALETTE = [[0, 0, 0], [204, 102, 119], [51, 34, 136], [221, 204, 119], [17, 119, 51], [136, 204, 238], [136, 34, 85],
           [68, 170, 153], [153, 153, 51], [170, 68, 153], [221, 221, 221]]


def _ready(spec: Type[ScenesSpec], data_root: Optional[str], task: str, split: str, seed: int) -> str:
    if split not in SPLITS:
        raise ValueError(f'unknown split {split!r} of {spec.NAME}; choose one of {", ".join(SPLITS)}')
    if data_root and Path(data_root).exists():
        root = Path(data_root)  # made by the caller with any number of images; its own manifest says how many
        found = read_manifest(root, spec.NAME)['spec']['seed']
        if found != seed:
            raise ValueError(f'{root} holds {spec.NAME} of seed {found}, not {seed}; give another data_root or seed')
    else:
        root = prepare_scenes(data_root, spec(seed=seed))
    verify_split(root, spec.NAME, task, split)
    return str(root / task)


class ScenesClassification(CustomDataset):
    """Images of one object each. Made on first use, cached, and compared with a checksum whenever it is opened.

    Args:
        split: 'train', 'val' or 'test'; they share no object and no background. Defaults to 'train'.
        data_root: The data set's folder. Defaults to the user's cache folder (``$MMLOCAT_DATA``).
        seed: Seed of the whole data set. Defaults to 0.
        **kwargs: Other arguments of mmpretrain's ``CustomDataset``, such as ``pipeline``, ``indices``.

    Raises:
        ValueError: ``split`` is unknown, or ``data_root`` holds another data set or seed.
        RuntimeError: The files on disk are damaged; the message says what to delete.
    """

    SPEC: Type[ScenesSpec]
    VOUCHES_FOR_FILES = True  # generated on first use, else compared with a checksum; no other check is needed

    def __init__(self, split: str = 'train', data_root: Optional[str] = None, seed: int = 0, **kwargs) -> None:
        root = _ready(self.SPEC, data_root, 'classification', split, seed)
        super().__init__(data_root=root, data_prefix='', ann_file=f'{split}.txt', **kwargs)


class ScenesSegmentation(BaseSegDataset):
    """Scenes of several objects with label maps. Arguments and errors are those of ``ScenesClassification``.

    Other arguments are those of mmseg's ``BaseSegDataset``.
    """

    SPEC: Type[ScenesSpec]
    VOUCHES_FOR_FILES = True

    def __init__(self, split: str = 'train', data_root: Optional[str] = None, seed: int = 0, **kwargs) -> None:
        root = _ready(self.SPEC, data_root, 'segmentation', split, seed)
        prefix = dict(img_path=f'images/{split}', seg_map_path=f'annotations/{split}')
        super().__init__(data_root=root, data_prefix=prefix, img_suffix='.png', seg_map_suffix='.png', **kwargs)
