# ViT-Tiny with rotary position embedding, k-NN on ImageNet-1K: no head is trained.
# Test it with the checkpoint of vit-tiny-rope_imagenet.py.
_base_ = './vit-rope_knn_imagenet.py'
model = _base_.by_size.tiny
