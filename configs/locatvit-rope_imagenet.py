# LocAtViT-Base with rotary position embedding on ImageNet-1K.
_base_ = './vit-rope_imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=_base_.refinement.base)
