# Ablation: PRR alone, on a plain Tiny.
_base_ = './vit-tiny_imagenet.py'
model = dict(backbone=dict(out_type='raw'), neck=_base_.refinement.tiny)
