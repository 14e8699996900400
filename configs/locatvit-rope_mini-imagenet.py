# LocAtViT-Base with rotary position embedding on Mini-ImageNet.
_base_ = './vit-rope_mini-imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=_base_.refinement.base)
