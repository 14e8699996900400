# ViT-Base, k-NN on ImageNet-1K: no head is trained.
# Test it with the checkpoint of vit_imagenet.py.
_base_ = ['_base_/models/vit_classifier.py', '_base_/datasets/imagenet_knn.py', '_base_/runtime_mmpretrain.py']
