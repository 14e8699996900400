# LocAtJumbo-Tiny, frozen, one-layer head on COCO-Stuff.
# Weights: --cfg-options checkpoint=FILE, the result of locatjumbo-tiny_imagenet.py (none are published).
_base_ = './jumbo-tiny_linear_coco_stuff164k.py'
model = dict(backbone=dict(gaug=True))
