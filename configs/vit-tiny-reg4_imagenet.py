# Variant: RegViT-Tiny: four register tokens.
_base_ = './vit-tiny_imagenet.py'
model = dict(backbone=dict(num_registers=4))
