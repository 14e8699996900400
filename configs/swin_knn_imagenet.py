# Swin-Base, k-NN on ImageNet-1K: no head is trained.
# Test it with the checkpoint of swin_imagenet.py.
_base_ = ['_base_/models/swin_classifier.py', '_base_/datasets/imagenet_knn.py', '_base_/runtime_mmpretrain.py']
