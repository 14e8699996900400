# Jumbo-Tiny, k-NN on ImageNet-1K, on the joined class tokens after the norm: no head is trained.
# Test it with the checkpoint of jumbo-tiny_imagenet.py.
_base_ = './jumbo_knn_imagenet.py'
model = dict(backbone=dict(arch='tiny'), head=dict(in_channels=6 * _base_.sizes.tiny.channels))
