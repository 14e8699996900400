# Swin-Tiny, frozen, one-layer head on COCO-Stuff.
# Weights: --cfg-options checkpoint=FILE, the result of swin-tiny_imagenet.py (none are published).
_base_ = './swin_linear_coco_stuff164k.py'
model = _base_.by_size.tiny
