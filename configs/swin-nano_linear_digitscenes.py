# A Swin of the demo's size, frozen, one-layer head on DigitScenes.
# Weights: --cfg-options checkpoint=FILE of swin-nano_digitscenes.py.
_base_ = './vit-nano_linear_digitscenes.py'
model = dict(backbone=dict(final_norm=False, out_indices=-1, frozen_stages=2, **_base_.nano_swin))
