# ViT-Tiny, k-NN on ImageNet-1K: no head is trained.
# Test it with the checkpoint of vit-tiny_imagenet.py.
_base_ = './vit_knn_imagenet.py'
model = _base_.by_size.tiny
