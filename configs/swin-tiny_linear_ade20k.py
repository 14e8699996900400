# Swin-Tiny, frozen, one-layer head on ADE20K.
# Weights: --cfg-options checkpoint=FILE, the result of swin-tiny_imagenet.py (none are published).
_base_ = './swin_linear_ade20k.py'
model = _base_.by_size.tiny
