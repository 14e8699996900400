# ViT-Tiny with rotary position embedding, frozen, one-layer head on Pascal Context.
# Weights: --cfg-options checkpoint=FILE, the result of vit-tiny-rope_imagenet.py (none are published).
_base_ = './vit-rope_linear_pascal_context59.py'
model = _base_.by_size.tiny
