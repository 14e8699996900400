from .datasets import DigitScenesClassification, DigitScenesSegmentation
from .spec import DigitScenesSpec, prepare_digit_scenes

__all__ = ['DigitScenesClassification', 'DigitScenesSegmentation', 'DigitScenesSpec', 'prepare_digit_scenes']
