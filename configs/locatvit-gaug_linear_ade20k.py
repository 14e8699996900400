# Ablation: GAug alone, Base.
# Weights: --cfg-options checkpoint=FILE, the result of locatvit-gaug_imagenet.py (none are published).
_base_ = './vit_linear_ade20k.py'
model = dict(backbone=dict(gaug=True))
