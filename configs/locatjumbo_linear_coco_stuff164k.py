# LocAtJumbo-Base, frozen, one-layer head on COCO-Stuff.
# Weights: --cfg-options checkpoint=FILE, the result of locatjumbo_imagenet.py (none are published).
_base_ = './jumbo_linear_coco_stuff164k.py'
model = dict(backbone=dict(gaug=True))
