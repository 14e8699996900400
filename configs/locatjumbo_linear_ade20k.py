# LocAtJumbo-Base, frozen, one-layer head on ADE20K.
# Weights: --cfg-options checkpoint=FILE, the result of locatjumbo_imagenet.py (none are published).
_base_ = './jumbo_linear_ade20k.py'
model = dict(backbone=dict(gaug=True))
