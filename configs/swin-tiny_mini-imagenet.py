# Swin-Tiny on Mini-ImageNet.
_base_ = './swin_mini-imagenet.py'
model = _base_.by_size.tiny
