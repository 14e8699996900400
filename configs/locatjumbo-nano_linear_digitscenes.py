# A LocAtJumbo of the demo's size, frozen, one-layer head on DigitScenes.
# Weights: --cfg-options checkpoint=FILE of locatjumbo-nano_digitscenes.py.
_base_ = './jumbo-nano_linear_digitscenes.py'
model = dict(backbone=dict(gaug=True))
