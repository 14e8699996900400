# ViT-Tiny with rotary position embedding on ImageNet-1K.
_base_ = './vit-rope_imagenet.py'
model = _base_.by_size.tiny
