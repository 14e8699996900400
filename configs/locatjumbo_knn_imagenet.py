# LocAtJumbo-Base, k-NN on ImageNet-1K, on the joined class tokens after the norm: no PRR, no trained head.
# Test it with the checkpoint of locatjumbo_imagenet.py.
_base_ = './jumbo_knn_imagenet.py'
model = dict(backbone=dict(gaug=True))
