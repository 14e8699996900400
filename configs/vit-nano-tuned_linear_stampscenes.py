# Frozen backbone of vit-nano-tuned_stampscenes.py, one-layer head. Weights: --cfg-options checkpoint=FILE.
_base_ = './vit-nano_linear_stampscenes.py'
