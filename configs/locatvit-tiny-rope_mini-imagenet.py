# LocAtViT-Tiny with rotary position embedding on Mini-ImageNet.
_base_ = './vit-tiny-rope_mini-imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=_base_.refinement.tiny)
