# LocAtSwin-Tiny, k-NN on ImageNet-1K: no head is trained.
# Test it with the checkpoint of locatswin-tiny_imagenet.py.
_base_ = './swin-tiny_knn_imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='featmap'), neck=_base_.refinement.tiny)
