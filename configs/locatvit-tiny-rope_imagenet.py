# LocAtViT-Tiny with rotary position embedding on ImageNet-1K.
_base_ = './vit-tiny-rope_imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=_base_.refinement.tiny)
