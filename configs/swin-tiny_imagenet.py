# Swin-Tiny on ImageNet-1K.
_base_ = './swin_imagenet.py'
model = _base_.by_size.tiny
