# A Jumbo of the demo's size, frozen, one-layer head on DigitScenes.
# Weights: --cfg-options checkpoint=FILE of jumbo-nano_digitscenes.py.
_base_ = './vit-nano_linear_digitscenes.py'
model = dict(backbone=_base_.nano_jumbo)
