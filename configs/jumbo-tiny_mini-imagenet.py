# Jumbo-Tiny on Mini-ImageNet.
_base_ = './jumbo_mini-imagenet.py'
model = _base_.by_size.tiny
