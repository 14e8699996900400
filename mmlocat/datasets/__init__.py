"""Provides data sets; importing this package registers them in MMPretrain and MMSegmentation."""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.datasets')

from .digit_scenes import DigitScenesClassification, DigitScenesSegmentation, prepare_digit_scenes  # noqa: E402
from .stamp_scenes import StampScenesClassification, StampScenesSegmentation, prepare_stamp_scenes  # noqa: E402

__all__ = [
    'DigitScenesClassification', 'DigitScenesSegmentation', 'StampScenesClassification', 'StampScenesSegmentation',
    'prepare_digit_scenes', 'prepare_stamp_scenes'
]
