# LocAtJumbo-Tiny, frozen, one-layer head on Pascal Context.
# Weights: --cfg-options checkpoint=FILE, the result of locatjumbo-tiny_imagenet.py (none are published).
_base_ = './jumbo-tiny_linear_pascal_context59.py'
model = dict(backbone=dict(gaug=True))
