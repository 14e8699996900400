# Variant: RegViT-Base on Mini-ImageNet: four register tokens.
_base_ = './vit_mini-imagenet.py'
model = dict(backbone=dict(num_registers=4))
