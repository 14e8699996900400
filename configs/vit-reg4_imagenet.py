# Variant: RegViT-Base: four register tokens.
_base_ = './vit_imagenet.py'
model = dict(backbone=dict(num_registers=4))
