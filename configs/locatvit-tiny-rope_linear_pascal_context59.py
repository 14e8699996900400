# LocAtViT-Tiny with rotary position embedding, frozen, one-layer head on Pascal Context.
# Weights: --cfg-options checkpoint=FILE, the result of locatvit-tiny-rope_imagenet.py (none are published).
_base_ = './vit-tiny-rope_linear_pascal_context59.py'
model = dict(backbone=dict(gaug=True))
