# Variant: RegViT-Tiny on Mini-ImageNet: four register tokens.
_base_ = './vit-tiny_mini-imagenet.py'
model = dict(backbone=dict(num_registers=4))
