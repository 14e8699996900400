# Ablation: PRR alone, on a plain Base.
_base_ = './vit_imagenet.py'
model = dict(backbone=dict(out_type='raw'), neck=_base_.refinement.base)
