"""Provides DigitScenes as data set classes of MMPretrain and MMSegmentation."""

from __future__ import annotations

from mmpretrain.registry import DATASETS as PRETRAIN_DATASETS
from mmseg.registry import DATASETS as SEG_DATASETS

from mmlocat.datasets.scenes.datasets import PALETTE, ScenesClassification, ScenesSegmentation

from .spec import DigitScenesSpec

_DIGITS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')


@PRETRAIN_DATASETS.register_module()
class DigitScenesClassification(ScenesClassification):
    """One handwritten digit anywhere on a 24 x 24 crop of a photograph; ten classes.

    36,000 training, 2,000 validation and 2,000 test images. Arguments are those of ``ScenesClassification``.
    """

    METAINFO = dict(classes=_DIGITS)
    SPEC = DigitScenesSpec


@SEG_DATASETS.register_module()
class DigitScenesSegmentation(ScenesSegmentation):
    """Scenes of 36 x 36 px with one to three handwritten digits; background and ten classes.

    1,500 training, 500 validation and 500 test scenes. A label covers the stroke, dilated by 2 px. Arguments are those
    of ``ScenesSegmentation``.
    """

    METAINFO = dict(classes=('background', *_DIGITS), palette=PALETTE)
    SPEC = DigitScenesSpec
