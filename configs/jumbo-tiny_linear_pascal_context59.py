# Jumbo-Tiny, frozen, one-layer head on Pascal Context.
# Weights: --cfg-options checkpoint=FILE, the result of jumbo-tiny_imagenet.py (none are published).
_base_ = './jumbo_linear_pascal_context59.py'
model = _base_.by_size.tiny
