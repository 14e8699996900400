# ViT-Tiny with rotary position embedding, frozen, one-layer head on COCO-Stuff.
# Weights: --cfg-options checkpoint=FILE, the result of vit-tiny-rope_imagenet.py (none are published).
_base_ = './vit-rope_linear_coco_stuff164k.py'
model = _base_.by_size.tiny
