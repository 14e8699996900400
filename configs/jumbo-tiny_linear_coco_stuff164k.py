# Jumbo-Tiny, frozen, one-layer head on COCO-Stuff.
# Weights: --cfg-options checkpoint=FILE, the result of jumbo-tiny_imagenet.py (none are published).
_base_ = './jumbo_linear_coco_stuff164k.py'
model = _base_.by_size.tiny
