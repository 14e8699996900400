# LocAtJumbo-Base, frozen, one-layer head on Pascal Context.
# Weights: --cfg-options checkpoint=FILE, the result of locatjumbo_imagenet.py (none are published).
_base_ = './jumbo_linear_pascal_context59.py'
model = dict(backbone=dict(gaug=True))
