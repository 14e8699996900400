# LocAtViT-Tiny with rotary position embedding, frozen, one-layer head on COCO-Stuff.
# Weights: --cfg-options checkpoint=FILE, the result of locatvit-tiny-rope_imagenet.py (none are published).
_base_ = './vit-tiny-rope_linear_coco_stuff164k.py'
model = dict(backbone=dict(gaug=True))
