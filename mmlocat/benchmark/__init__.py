"""Measures time and memory of attention and backbones beside a baseline, in turns: see README.md."""

import warnings

# mmcv without compiled operators warns of a missing one in every process that measures; no model here uses it.
warnings.filterwarnings('ignore', message='Fail to import', module='mmcv')
