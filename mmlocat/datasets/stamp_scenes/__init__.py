from .datasets import StampScenesClassification, StampScenesSegmentation
from .package import prepare_stamps
from .spec import StampScenesSpec, prepare_stamp_scenes

__all__ = [
    'StampScenesClassification', 'StampScenesSegmentation', 'StampScenesSpec', 'prepare_stamp_scenes', 'prepare_stamps'
]
