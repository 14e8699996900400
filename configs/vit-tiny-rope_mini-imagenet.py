# ViT-Tiny with rotary position embedding on Mini-ImageNet.
_base_ = './vit-rope_mini-imagenet.py'
model = _base_.by_size.tiny
