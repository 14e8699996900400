# Jumbo-Tiny on ImageNet-1K.
_base_ = './jumbo_imagenet.py'
model = _base_.by_size.tiny
