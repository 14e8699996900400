# Frozen backbone of vit-nano-tuned_digitscenes.py, one-layer head. Weights: --cfg-options checkpoint=FILE.
_base_ = './vit-nano_linear_digitscenes.py'
