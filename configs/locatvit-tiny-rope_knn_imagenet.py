# LocAtViT-Tiny with rotary position embedding, k-NN on ImageNet-1K: no head is trained.
# Test it with the checkpoint of locatvit-tiny-rope_imagenet.py.
_base_ = './vit-tiny-rope_knn_imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=_base_.refinement.tiny)
