# ViT-Small, frozen, one-layer head on ADE20K.
# Weights: --cfg-options checkpoint=FILE, the result of vit-small_imagenet.py (none are published).
_base_ = './vit_linear_ade20k.py'
model = _base_.by_size.small
