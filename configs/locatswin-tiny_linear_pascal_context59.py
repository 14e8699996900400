# LocAtSwin-Tiny, frozen, one-layer head on Pascal Context.
# Weights: --cfg-options checkpoint=FILE, the result of locatswin-tiny_imagenet.py (none are published).
_base_ = './swin-tiny_linear_pascal_context59.py'
model = dict(backbone=dict(gaug=True))
