# Swin-Tiny, frozen, one-layer head on Pascal Context.
# Weights: --cfg-options checkpoint=FILE, the result of swin-tiny_imagenet.py (none are published).
_base_ = './swin_linear_pascal_context59.py'
model = _base_.by_size.tiny
