# LocAtViT-Base with rotary position embedding, frozen, one-layer head on ADE20K.
# Weights: --cfg-options checkpoint=FILE, the result of locatvit-rope_imagenet.py (none are published).
_base_ = './vit-rope_linear_ade20k.py'
model = dict(backbone=dict(gaug=True))
