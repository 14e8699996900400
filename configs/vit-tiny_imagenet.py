# ViT-Tiny on ImageNet-1K: the baseline arm.
_base_ = './vit_imagenet.py'
model = _base_.by_size.tiny
