# ViT-Small on Mini-ImageNet: the baseline arm.
_base_ = './vit_mini-imagenet.py'
model = _base_.by_size.small
