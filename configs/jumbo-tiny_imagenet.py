# Jumbo-Tiny on ImageNet-1K.
_base_ = './jumbo_imagenet.py'
model = dict(
    backbone=dict(arch='tiny', drop_path_rate=_base_.sizes.tiny.drop_path_rate),
    head=dict(in_channels=6 * _base_.sizes.tiny.channels))
