# LocAtViT-Base, k-NN on ImageNet-1K: no head is trained.
# Test it with the checkpoint of locatvit_imagenet.py.
_base_ = './vit_knn_imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=_base_.refinement.base)
