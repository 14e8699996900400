# LocAtViT-Tiny, k-NN on ImageNet-1K: no head is trained.
# Test it with the checkpoint of locatvit-tiny_imagenet.py.
_base_ = './vit-tiny_knn_imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=_base_.refinement.tiny)
