# Jumbo-Base, k-NN on ImageNet-1K, on the joined class tokens after the norm: no head is trained.
# Test it with the checkpoint of jumbo_imagenet.py.
_base_ = './vit_knn_imagenet.py'
model = dict(
    backbone=dict(type='LocAtJumbo', num_cls_tokens=6, jumbo_mlp_ratio=4),
    head=dict(in_channels=6 * _base_.sizes.base.channels))
