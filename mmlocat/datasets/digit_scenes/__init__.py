from .build import DigitScenesSpec, default_root, prepare_digit_scenes
from .datasets import DigitScenesClassification, DigitScenesSegmentation

__all__ = [
    'DigitScenesClassification', 'DigitScenesSegmentation', 'DigitScenesSpec', 'default_root', 'prepare_digit_scenes'
]
