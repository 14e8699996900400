# LocAtSwin-Base, k-NN on ImageNet-1K: no head is trained.
# Test it with the checkpoint of locatswin_imagenet.py.
_base_ = './swin_knn_imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='featmap'), neck=_base_.refinement.base)
