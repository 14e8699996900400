# Swin-Tiny, k-NN on ImageNet-1K: no head is trained.
# Test it with the checkpoint of swin-tiny_imagenet.py.
_base_ = './swin_knn_imagenet.py'
model = _base_.by_size.tiny
