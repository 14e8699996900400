# Ablation: GAug alone, Tiny.
# Weights: --cfg-options checkpoint=FILE, the result of locatvit-tiny-gaug_imagenet.py (none are published).
_base_ = './vit-tiny_linear_ade20k.py'
model = dict(backbone=dict(gaug=True))
