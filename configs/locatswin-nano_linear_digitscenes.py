# A LocAtSwin of the demo's size, frozen, one-layer head on DigitScenes.
# Weights: --cfg-options checkpoint=FILE of locatswin-nano_digitscenes.py.
_base_ = './swin-nano_linear_digitscenes.py'
model = dict(backbone=dict(gaug=True))
