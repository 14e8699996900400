# LocAtSwin-Base, frozen, one-layer head on COCO-Stuff.
# Weights: --cfg-options checkpoint=FILE, the result of locatswin_imagenet.py (none are published).
_base_ = './swin_linear_coco_stuff164k.py'
model = dict(backbone=dict(gaug=True))
