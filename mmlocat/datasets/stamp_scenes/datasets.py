"""Provides StampScenes as data set classes of MMPretrain and MMSegmentation."""

from __future__ import annotations

from mmpretrain.registry import DATASETS as PRETRAIN_DATASETS
from mmseg.registry import DATASETS as SEG_DATASETS

from mmlocat.datasets.scenes.datasets import PALETTE, ScenesClassification, ScenesSegmentation

from .catalogue import CLASSES
from .spec import StampScenesSpec


@PRETRAIN_DATASETS.register_module()
class StampScenesClassification(ScenesClassification):
    """One photographed object anywhere on an image of 96 x 96 px; nine classes, from birds to vehicles.

    12,000 training, 1,000 validation and 2,000 test images. Arguments are those of ``ScenesClassification``.
    """

    METAINFO = dict(classes=tuple(CLASSES))
    SPEC = StampScenesSpec


@SEG_DATASETS.register_module()
class StampScenesSegmentation(ScenesSegmentation):
    """Scenes of 128 x 128 px with one to three photographed objects; background and nine classes.

    1,500 training, 300 validation and 500 test scenes. Up to two objects of no class lie about in them, labelled as
    background. Arguments are those of ``ScenesSegmentation``.
    """

    METAINFO = dict(classes=('background', *CLASSES), palette=PALETTE[:1 + len(CLASSES)])
    SPEC = StampScenesSpec
